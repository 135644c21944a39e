// A real Keycloak with a realm for the page: a public client with PKCE, and alice, who has two tenants.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, freePort } from './weir.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Java takes its time on two cores that are busy. */
const PATIENCE_MS = 180_000;

const claim = (name, mapper, config) => ({ name, protocol: 'openid-connect', protocolMapper: mapper, config: { 'id.token.claim': 'true', 'access.token.claim': 'true', ...config } });
const realm = (weir) => ({
  realm: 'weir', enabled: true, sslRequired: 'none',
  // Keycloak would drop attributes that its profile does not know.
  components: { 'org.keycloak.userprofile.UserProfileProvider': [{ providerId: 'declarative-user-profile', config: { 'kc.user.profile.config': [JSON.stringify({ attributes: [{ name: 'username' }, { name: 'email' }, { name: 'firstName' }, { name: 'lastName' }], unmanagedAttributePolicy: 'ENABLED' })] } }] },
  clients: [{
    clientId: 'weir', publicClient: true, standardFlowEnabled: true, redirectUris: [`${weir}/auth/callback`],
    attributes: { 'pkce.code.challenge.method': 'S256', 'post.logout.redirect.uris': `${weir}/` },
    protocolMappers: [claim('tenants', 'oidc-usermodel-attribute-mapper', { 'user.attribute': 'tenants', 'claim.name': 'tenants', multivalued: 'true', 'jsonType.label': 'String' })],
  }],
  users: [{ username: 'alice', enabled: true, email: 'alice@example.org', emailVerified: true, firstName: 'Alice', lastName: 'Example', attributes: { tenants: ['bank', 'shop'] }, credentials: [{ type: 'password', value: 'alice-pw', temporary: false }] }],
});

/** Starts it; `add` makes the realm for a weir at that address. */
export async function startKeycloak() {
  const server = join(root, '.cache/keycloak/server');
  if (!existsSync(server)) throw new Error(`${server} is not there: tests/keycloak/fetch`);
  const [folder, port] = [mkdtempSync(join(tmpdir(), 'weir-keycloak-')), await freePort()];
  const log = openSync(join(folder, 'log'), 'a');
  const env = { ...process.env, KC_BOOTSTRAP_ADMIN_USERNAME: 'admin', KC_BOOTSTRAP_ADMIN_PASSWORD: 'admin-pw' };
  const child = spawn('java', ['-Xmx512m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', `-Dkc.home.dir=${server}`, '-Djava.util.logging.manager=org.jboss.logmanager.LogManager',
    '-cp', join(server, 'lib/quarkus-run.jar'), 'io.quarkus.bootstrap.runner.QuarkusEntryPoint', 'start', '--optimized', '--cache=local', '--http-enabled=true', '--hostname-strict=false', '--http-host=127.0.0.1', `--http-port=${port}`], { env, stdio: ['ignore', log, log] });
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => { child.once('exit', resolve); });
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await eventually('Keycloak answers', async () => (await fetch(`${url}/realms/master/.well-known/openid-configuration`)).ok, PATIENCE_MS);
  } catch (error) {
    const said = readFileSync(join(folder, 'log'), 'utf8').slice(-3000);
    await stop();
    throw new Error(`${error.message}\n${said}`);
  }
  const add = async (weir) => {
    const form = new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', username: 'admin', password: 'admin-pw' });
    const { access_token: token } = await (await fetch(`${url}/realms/master/protocol/openid-connect/token`, { method: 'POST', body: form })).json();
    const made = await fetch(`${url}/admin/realms`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify(realm(weir)) });
    if (!made.ok) throw new Error(`the realm: ${made.status} ${await made.text()}`);
  };
  return { issuer: `${url}/realms/weir`, add, stop };
}
