// Signing in: by password, by token, and at a real Keycloak; which tenant is looked at; the way out.
import assert from 'node:assert/strict';
import { newContext } from '../browser.mjs';
import { startKeycloak } from '../keycloak.mjs';
import { PATIENCE_MS, pushLogs, start } from '../weir.mjs';
import { violations } from './page.mjs';

// "alice-pw" by bcrypt.
const HTPASSWD = 'alice:$2b$05$abcdefghijklmnopqrstuujEI7PSP.y28xMPOv5lBoTSzRZgCP7le\n';
const TOKENS = 'bob-token,bob,1,"ops"\npush-token,pusher,2\n';
const POLICIES = [
  { user: 'alice', tenant: 'shop' }, { group: 'ops', tenant: 'shop' }, { group: 'ops', tenant: 'bank', signal: 'logs' }, { user: 'pusher', verb: 'push', tenant: '*' },
  { user: 'eve', tenant: 'shop' },
].map((policy) => `${JSON.stringify(policy)}\n`).join('');

const local = (folder) => `[auth]\nmethods = ["tokens", "basic"]\ntokens_file = ${JSON.stringify(`${folder}/tokens.csv`)}\nbasic_file = ${JSON.stringify(`${folder}/htpasswd`)}\n[authorization]\nmode = "abac"\npolicies_file = ${JSON.stringify(`${folder}/policies.jsonl`)}\n`;

const lines = (page) => page.locator('.line');
/** A page of a browser of its own. */
const visit = async (context, weir) => {
  const own = await newContext(context.browser(), weir);
  own.setDefaultTimeout(PATIENCE_MS);
  return own.newPage();
};
/** One line of the same stream in each of two tenants. */
const given = async (weir, headers) => {
  for (const tenant of ['shop', 'bank']) await pushLogs(weir, { app: 'till' }, [`sold in the ${tenant}`], { ...headers, 'x-scope-orgid': tenant });
};

export default [
  ['a password or a token opens the page for one tenant at a time, and signing out closes it', async ({ context }) => {
    const weir = await start({ files: { htpasswd: HTPASSWD, 'tokens.csv': TOKENS, 'policies.jsonl': POLICIES }, config: local });
    try {
      await given(weir, { authorization: 'Bearer push-token' });
      const alice = await visit(context, weir);
      await alice.goto('/logs?q=sold');
      await alice.getByRole('heading', { name: 'Sign in to weir' }).waitFor();
      assert.deepEqual(await violations(alice), []);
      await alice.getByLabel('User').fill('alice');
      await alice.getByLabel('Password').fill('wrong');
      await alice.getByRole('button', { name: 'Sign in', exact: true }).click();
      await alice.getByRole('alert').getByText('Not signed in').waitFor();
      await alice.getByLabel('Password').fill('alice-pw');
      await alice.getByRole('button', { name: 'Sign in', exact: true }).click();
      await lines(alice).getByText('sold in the shop').waitFor();
      assert.equal(await lines(alice).getByText('bank').count(), 0);
      await alice.locator('.who').getByText('alice').waitFor();
      assert.deepEqual(await violations(alice), []);
      // Another tenant in the address is refused in words, not shown as nothing.
      await alice.goto('/logs?q=sold&tenant=bank');
      await alice.getByRole('alert').getByText('Error 403').first().waitFor();
      assert.equal(await lines(alice).count(), 0);

      const bob = await visit(context, weir);
      await bob.goto('/logs?q=sold');
      await bob.getByLabel('Token').fill('bob-token');
      await bob.getByRole('button', { name: 'Sign in with a token' }).click();
      await bob.locator('.who').getByText('bob').waitFor();
      await bob.getByLabel('Tenant').selectOption('bank');
      await lines(bob).getByText('sold in the bank').waitFor();
      assert.equal(new URL(bob.url()).searchParams.get('tenant'), 'bank');
      await bob.getByRole('link', { name: 'Traces' }).click();
      await bob.waitForURL(/tenant=bank/);
      await bob.getByRole('alert').getByText('Error 403').first().waitFor();
      await bob.goto('/logs?q=sold');
      await bob.getByLabel('Tenant').selectOption('shop');
      await lines(bob).getByText('sold in the shop').waitFor();
      await bob.getByRole('button', { name: 'Sign out' }).click();
      await bob.getByRole('heading', { name: 'Sign in to weir' }).waitFor();
      await bob.reload();
      await bob.getByRole('heading', { name: 'Sign in to weir' }).waitFor();
      await Promise.all([alice, bob].map((page) => page.context().close()));
    } finally {
      await weir.stop();
    }
  }],
  ['the page signs in at Keycloak, and out', async ({ context }) => {
    const keycloak = await startKeycloak();
    let weir;
    try {
      const oidc = (folder, port) => `[auth]\nmethods = ["tokens", "oidc"]\ntokens_file = ${JSON.stringify(`${folder}/tokens.csv`)}\n[auth.oidc]\nissuer_url = ${JSON.stringify(keycloak.issuer)}\nclient_id = "weir"\nusername_claim = "preferred_username"\ntenants_claim = "tenants"\nredirect_url = "http://127.0.0.1:${port}/auth/callback"\n`;
      weir = await start({ files: { 'tokens.csv': TOKENS }, config: oidc });
      await keycloak.add(weir.url);
      await given(weir, { authorization: 'Bearer push-token' });
      const page = await visit(context, weir);
      await page.goto('/logs?q=sold&tenant=shop');
      await page.getByRole('link', { name: /Continue with 127\.0\.0\.1/ }).click();
      await page.getByLabel('Username or email').fill('alice');
      await page.locator('input[name=password]').fill('alice-pw');
      await page.locator('[type=submit]').click();
      await lines(page).getByText('sold in the shop').waitFor();
      assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, '/logs?q=sold&tenant=shop');
      await page.locator('.who').getByText('alice').waitFor();
      await page.getByLabel('Tenant').selectOption('bank');
      await lines(page).getByText('sold in the bank').waitFor();
      const [session] = (await page.context().cookies()).filter(({ name }) => name === '__Host-weir-session');
      assert.deepEqual([session.httpOnly, session.secure, session.sameSite, session.path], [true, true, 'Strict', '/']);
      assert.equal((await page.context().cookies()).filter(({ name }) => name === '__Host-weir-login').length, 0);
      // A link to the callback that somebody else made signs nobody in.
      await page.goto('/auth/callback?code=stolen&state=guessed');
      assert.equal(new URL(page.url()).search, '?signin=expired');
      await page.goto('/logs?q=sold&tenant=shop');
      await page.getByRole('button', { name: 'Sign out' }).click();
      // Keycloak asks whether its own session shall end, too.
      await page.waitForURL(/\/realms\/weir\//);
      await page.locator('[type=submit]').click();
      await page.waitForURL(`${weir.url}/`);
      await page.getByRole('heading', { name: 'Sign in to weir' }).waitFor();
      await page.context().close();
    } finally {
      await weir?.stop();
      await keycloak.stop();
    }
  }],
];
