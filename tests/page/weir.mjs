// A real weir for the page's tests: own ports, own data, own container; records pushed as clients push them.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** The binary under test; WEIR_BIN names another one. */
export const binary = process.env.WEIR_BIN ?? join(root, 'target/release/weir');
/** How long anything may take before a test gives up. Nothing waits for it when all is well. */
export const PATIENCE_MS = 30_000;

/** Asks until `ask` gives something that is not false; what it last threw or gave is in the error. */
export async function eventually(what, ask, patience = PATIENCE_MS) {
  const begun = performance.now();
  for (let last; ; ) {
    try {
      const answer = await ask();
      if (answer !== false && answer !== undefined && answer !== null) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() - begun > patience) throw new Error(`${what}: not within ${patience} ms; last: ${last}`);
    await new Promise((resolve) => { setTimeout(resolve, 40); });
  }
}

/** The least of these ports and how many; Linux gives none of them to an outgoing connection, which could have it by then. */
const PORTS = [10_000, 20_000];
/** Processes begin apart from each other. */
let nextPort = process.pid * 97;

export async function freePort() {
  for (let tries = 0; tries < PORTS[1]; tries += 1) {
    const port = PORTS[0] + (nextPort++ % PORTS[1]);
    const free = await new Promise((resolve) => {
      const server = createServer().on('error', () => resolve(false)).listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error('no port is free on loopback');
}

const RULES = `groups:
- name: page
  interval: 1s
  rules:
  - {alert: ContainerRuns, expr: 'container_memory_working_set_bytes{name="page-box"} > 0', labels: {severity: info}, annotations: {summary: '{{ $labels.name }} uses memory', impact: 'javascript:alert(1)', runbook_url: 'https://runbooks.example/memory'}}
  - {alert: NeverTrue, expr: 'vector(0) > 1', labels: {severity: page}}
  - {alert: Waits, expr: 'vector(1) > 0', for: 10h}
`;

/**
 * Starts weir and one container under it; resolves when both are seen. `stop` ends and removes everything. With `busMebibytes` there
 * is no container, and the bus is on a disk of that size, for `fill` and `makeRoom`. With `config`, further configuration made of
 * the folder that `files` are written to, there is no container either.
 */
export async function start({ busMebibytes, files = {}, config } = {}) {
  if (!existsSync(binary)) throw new Error(`${binary} is not there: cargo build --release -p weir`);
  const folder = mkdtempSync(join(tmpdir(), 'weir-page-'));
  const [page, grpc, otlp] = await Promise.all([freePort(), freePort(), freePort()]);
  writeFileSync(join(folder, 'rules.yml'), RULES);
  const small = join(folder, 'small');
  if (busMebibytes) {
    mkdirSync(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${busMebibytes}m`, 'weir-page', small], { encoding: 'utf8' });
    if (mounted.status !== 0) throw new Error(`mounting a tmpfs takes root: ${mounted.stderr}`);
  }
  const bus = busMebibytes ? `[bus.disk]\npath = ${JSON.stringify(small)}\n` : '';
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
  const more = config?.(folder, page) ?? '';
  writeFileSync(join(folder, 'weir.toml'), `${bus}${more}[collector.sample]\ninterval = "1s"\n[telemetry]\nusage_interval = "1s"\n[query]\ndetected_level = true\n[rules]\nfiles = [${JSON.stringify(join(folder, 'rules.yml'))}]\n`);
  const env = { ...process.env, WEIR_RUNTIME_DIR: join(folder, 'containers') };
  const log = openSync(join(folder, 'weir.log'), 'a');
  const child = spawn(binary, ['up', '--config', join(folder, 'weir.toml'), '--data', join(folder, 'data'), '--listen', `127.0.0.1:${page}`, '--otlp-grpc', `127.0.0.1:${grpc}`, '--otlp-http', `127.0.0.1:${otlp}`], { env, stdio: ['ignore', log, log] });
  const weir = { url: `http://127.0.0.1:${page}`, otlp: `http://127.0.0.1:${otlp}`, log: () => readFileSync(join(folder, 'weir.log'), 'utf8') };
  const run = (...args) => spawnSync(binary, args, { env, encoding: 'utf8' });
  const containers = [];
  /** Ends one of them at once. */
  weir.end = (name) => run('stop', '--time', '0', name);
  /** A container of its own under this weir, which ends with it. */
  weir.run = (name, memory, script, restart = 'no') => {
    const made = run('run', '-d', '--name', name, '--memory', memory, '--cpus', '0.5', '--restart', restart, '--', 'sh', '-c', script);
    if (made.status !== 0) throw new Error(`weir run: ${made.stderr || made.stdout || made.error}`);
    containers.push(name);
  };
  /** Writes until there is no room on the bus's disk. */
  weir.fill = () => spawnSync('dd', ['if=/dev/zero', `of=${join(small, 'filler')}`, 'bs=4096']);
  weir.makeRoom = () => rmSync(join(small, 'filler'));
  weir.stop = async () => {
    for (const name of containers) {
      run('stop', '--time', '0', name);
      run('rm', name);
    }
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => { child.once('exit', resolve); });
    if (busMebibytes) spawnSync('umount', ['-l', small]);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await eventually('weir is ready', async () => (await fetch(`${weir.url}/readyz`)).ok);
    if (busMebibytes || config) return weir;
    weir.run('page-box', '64Mi', 'i=0; while :; do echo "level=info msg=\\"box line $i\\""; i=$((i+1)); sleep 1; done');
    await eventually('the container is seen', async () => (await get(weir, 'containers')).containers.some((one) => one.name === 'page-box' && one.memory_bytes > 0));
  } catch (error) {
    const said = weir.log().slice(-4000);
    await weir.stop();
    throw new Error(`${error.message}\n${said}`);
  }
  return weir;
}

export async function get(weir, path) {
  const answer = await fetch(`${weir.url}/api/weir/v1/${path}`);
  return answer.json();
}

async function post(url, body, headers = {}) {
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
}

let last = 0n;
/** The time in nanoseconds, never the same twice. */
export function now() {
  const at = BigInt(Date.now()) * 1_000_000n;
  last = at > last ? at : last + 1n;
  return last;
}

/** Loki push. `entries` are lines, or [line, structured metadata, time in ns]. */
export function pushLogs(weir, stream, entries, headers) {
  const values = entries.map((entry) => (Array.isArray(entry) ? [String(entry[2] ?? now()), entry[0], entry[1]] : [String(now()), entry]));
  return post(`${weir.url}/loki/api/v1/push`, { streams: [{ stream, values }] }, headers);
}

/** OTLP over HTTP as JSON; spans are {service, node?, id, parent?, name, kind?, from, ms, error?, attributes?, events?}, times in ms after `start`. */
export function pushSpans(weir, trace, start, spans) {
  const text = (value) => ({ stringValue: String(value) });
  const list = (fields = {}) => Object.entries(fields).map(([key, value]) => ({ key, value: text(value) }));
  const at = (ms) => String(start + BigInt(Math.round(ms * 1e6)));
  return post(`${weir.otlp}/v1/traces`, {
    resourceSpans: spans.map((span) => ({
      resource: { attributes: list({ 'service.name': span.service, ...(span.node ? { 'k8s.node.name': span.node } : {}) }) },
      scopeSpans: [{ scope: { name: 'page-test', version: '1' }, spans: [{
        traceId: trace, spanId: span.id, parentSpanId: span.parent ?? '', name: span.name, kind: span.kind ?? 2, startTimeUnixNano: at(span.from), endTimeUnixNano: at(span.from + span.ms),
        attributes: list(span.attributes), status: span.error ? { code: 2, message: span.error } : {},
        events: (span.events ?? []).map((name) => ({ timeUnixNano: at(span.from + span.ms / 2), name, attributes: list({ 'exception.type': name }) })),
      }] }],
    })),
  });
}

/** Samples of a gauge by OTLP: `values` are [seconds before now, value]. */
export function pushGauge(weir, name, unit, attributes, values) {
  const at = (seconds) => String(BigInt(Date.now() - seconds * 1000) * 1_000_000n);
  const list = Object.entries(attributes).map(([key, value]) => ({ key, value: { stringValue: value } }));
  return post(`${weir.otlp}/v1/metrics`, {
    resourceMetrics: [{ resource: { attributes: [] }, scopeMetrics: [{ metrics: [{ name, unit, gauge: { dataPoints: values.map(([seconds, value]) => ({ attributes: list, timeUnixNano: at(seconds), asDouble: value })) } }] }] }],
  });
}
