// A small stand-in for weir's API, for work on the page by hand (`npm run dev`). Never embedded, never used by the tests of the page.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const PORT = Number(process.env.PORT ?? 9641);
let seed = 7;
const random = () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
  return seed / 2_147_483_648;
};
const pick = (list) => list[Math.floor(random() * list.length)];
const ns = (ms) => `${Math.floor(ms)}${String(Math.floor(random() * 1e6)).padStart(6, '0')}`;
const services = ['frontend', 'checkoutservice', 'cartservice', 'paymentservice', 'productcatalog', 'redis-cart', 'emailservice', 'adservice'];
const hex = (length) => Array.from({ length }, () => '0123456789abcdef'[Math.floor(random() * 16)]).join('');
const traceIds = Array.from({ length: 20 }, () => hex(32));
const coverage = { complete: true, partitions: [0, 1, 2, 3].map((partition) => ({ topic: 'weir.logs', partition, on_bus: 1200 + partition, searchable: 1200, sealed: 900, losses: partition === 3 ? [[3, 5]] : [] })), missing: [] };

const pods = services.map((service) => ({ service, pod: `${service}-${hex(9)}-${hex(5)}` }));
const templates = [
  ['info', () => `request completed method=GET path=/api/v1/products/${hex(10)} status=200 duration=${(random() * 90).toFixed(2)}ms`],
  ['info', () => `[PlaceOrder] user_id="${hex(8)}-${hex(4)}" user_currency="USD" total=${(random() * 400).toFixed(2)}`],
  ['debug', () => `cache lookup key=cart:${hex(12)} hit=${random() > 0.4}`],
  ['warn', () => `retrying call to paymentservice: attempt ${Math.ceil(random() * 4)} of 5, last error: deadline exceeded after 250ms`],
  ['error', () => `panic recovered: could not charge card: rpc error: code = Unavailable desc = connection refused (10.244.3.${Math.floor(random() * 255)}:50051)`],
  ['', () => `{"ts":"${new Date().toISOString()}","msg":"consumer group rebalanced","partitions":[${Math.floor(random() * 9)},${Math.floor(random() * 9)}]}`],
];
let ordinal = 0;
const line = (at) => {
  const [level, text] = random() < 0.62 ? templates[0] : pick(templates);
  const { service, pod } = pick(pods);
  ordinal += 1;
  return {
    id: `${Math.floor(random() * 4)}-${ordinal}-${Math.floor(random() * 9)}`, t: ns(at), level, line: random() < 0.002 ? `huge ${'x'.repeat(200_000)}` : random() < 0.01 ? '<img src=x onerror="document.title=1"> \u001b[31mred\u001b[0m' : text(),
    stream: { namespace: 'shop', pod, container: service, node: 'node-1', stream: level === 'error' ? 'stderr' : 'stdout' },
    trace_id: random() < 0.5 ? pick(traceIds) : '', span_id: '', attributes: random() < 0.3 ? { 'http.route': '/cart', 'user.tier': 'gold' } : {}, labels: {},
  };
};

function containers() {
  const now = Math.floor(Date.now() / 1000);
  const rows = pods.map(({ service, pod }, i) => {
    const base = [0.42, 0.08, 0.03, 0.9, 0.004, 0.12, 0, 0.23][i];
    const memory = [180, 96, 51, 245, 33, 12, 8, 130][i] * 1048576;
    const history = (value) => Array.from({ length: 60 }, (_, k) => [now - 300 + k * 5, Math.max(0, value * (1 + 0.35 * Math.sin((k + i * 7) / 6) + (random() - 0.5) * 0.2))]);
    return {
      id: hex(64), name: service, node: 'node-1', namespace: 'shop', pod, image: `registry.example/shop/${service}:v0.8.${i}`, runtime: 'containerd', state: i === 6 ? 'exited' : 'running',
      started: ns(Date.now() - 3.6e6 * (i + 1) * 3), restarts: i === 3 ? 4 : 0, labels: {}, cpu_cores: base, cpu_limit_cores: i % 2 ? 1 : null, memory_bytes: memory,
      memory_limit_bytes: i % 3 === 0 ? 268_435_456 : null, throttled_ratio: [0, 0, 0, 0.41, 0, 0.07, 0, 0][i], oom_kills: i === 3 ? 2 : 0, pids: 5 + i * 3, cpu_history: history(base), memory_history: history(memory),
      ...(i === 6 ? { exit_code: 137, signal: 'SIGKILL', oom_killed: true, finished: ns(Date.now() - 190_000), runs_ended: 1 } : { exit_code: null, signal: '', oom_killed: false, finished: '', runs_ended: 0 }),
    };
  });
  const nodes = [{ node: 'node-1', cores: 8, cpu_cores: 1.7, memory_bytes: 6.1e9, memory_total_bytes: 16e9, load1: 1.42 }];
  const cgroups = [{ id: '/system.slice/ssh.service', name: 'ssh.service', kind: 'service', node: 'node-1', cpu_cores: 0.0007, memory_bytes: 6e6, memory_limit_bytes: null, pids: 1 }];
  return { containers: rows, ended_more: 0, nodes, cgroups, coverage };
}

function trace(id) {
  const start = Date.now() - 600_000;
  const spans = [];
  const add = (parent, depth, from, length) => {
    const service = depth === 0 ? 'frontend' : pick(services);
    const span = {
      id: hex(16), parent_id: parent, service, name: depth === 0 ? 'POST /cart/checkout' : `${service}/${pick(['Charge', 'GetCart', 'ListProducts', 'Convert', 'HGET', 'SELECT orders'])}`, kind: depth === 0 ? 'server' : 'client',
      start: `${BigInt(start) * 1_000_000n + BigInt(Math.floor(from * 1000))}`, duration: `${Math.floor(length * 1000)}`, status: random() < 0.1 ? 'error' : 'unset', status_message: 'card declined', attributes: { 'rpc.system': 'grpc', 'net.peer.name': service, 'http.status_code': 200 },
      resource: { 'service.name': service, 'k8s.pod.name': `${service}-${hex(5)}` }, scope: 'otelgrpc 0.49', events: random() < 0.3 ? [{ t: `${BigInt(start) * 1_000_000n + BigInt(Math.floor(from * 1000 + length * 400))}`, name: 'exception', attributes: { 'exception.type': 'io.EOF' } }] : [], links: [], orphan: false,
    };
    spans.push(span);
    let at = from + length * 0.05;
    while (depth < 4 && at < from + length * 0.85 && spans.length < 60) {
      const part = length * (0.08 + random() * 0.3);
      add(span.id, depth + 1, at, Math.min(part, from + length - at));
      at += part * (0.8 + random() * 0.5);
    }
  };
  add('', 0, 0, 482_000);
  spans.push({ ...spans[3], id: hex(16), parent_id: hex(16), orphan: true, name: 'late worker' });
  return { trace: { id, state: 'quiescent', revision: 1, spans }, coverage };
}

const promSeries = (from, to, step) => pods.map(({ service, pod }, i) => ({
  metric: { __name__: 'container_cpu_usage_seconds_total', namespace: 'shop', pod, container: service },
  values: Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, k) => [from + k * step, String(0.1 * (i + 1) + 0.05 * Math.sin((k + i * 9) / 8))]).filter((_, k) => i !== 2 || k < 40 || k > 60),
}));
const rules = { groups: [{ name: 'containers', file: 'rules.yml', interval: 15, rules: [
  { name: 'HighThrottling', query: 'rate(container_cpu_cfs_throttled_periods_total[5m]) / rate(container_cpu_cfs_periods_total[5m]) > 0.25', type: 'alerting', state: 'firing', health: 'ok', duration: 60, labels: { severity: 'page' }, annotations: { summary: 'held back' }, alerts: [{ labels: { alertname: 'HighThrottling', pod: pods[3].pod, severity: 'page' }, annotations: { summary: `${pods[3].pod} is held back 41% of the time` }, state: 'firing', activeAt: new Date(Date.now() - 372_000).toISOString(), value: '4.1e-01' }] },
  { name: 'MemoryNearLimit', query: 'container_memory_working_set_bytes / container_spec_memory_limit_bytes > 0.9', type: 'alerting', state: 'pending', health: 'ok', duration: 300, labels: { severity: 'ticket' }, annotations: {}, alerts: [{ labels: { alertname: 'MemoryNearLimit', pod: pods[3].pod }, annotations: {}, state: 'pending', activeAt: new Date(Date.now() - 40_000).toISOString(), value: '9.3e-01' }] },
  { name: 'NodeDown', query: 'up == 0', type: 'alerting', state: 'inactive', health: 'ok', duration: 30, labels: {}, annotations: {}, alerts: [] },
] }] };

function answer(url) {
  const get = (name) => url.searchParams.get(name) ?? '';
  const path = url.pathname.replace('/api/weir/v1/', '');
  const [from, to] = [Number(get('start').slice(0, 13)), Number(get('end').slice(0, 13))];
  if (get('query').includes('BAD')) return [400, { status: 'error', error: 'parse error at line 1, col 7: unexpected identifier "BAD"' }];
  if (path === 'containers') return [200, containers()];
  if (path === 'logs') return [200, { lines: Array.from({ length: Number(get('limit')) }, (_, i) => line(to - i * ((to - from) / 4000))), coverage, stats: { lines_scanned: 48_211, took_ms: 12.4 } }];
  if (path === 'logs/query') return [200, { query: get('search').startsWith('{') ? get('search') : `{}${get('search').split(/\s+/).filter(Boolean).map((word) => ` |~ "(?i)${word}"`).join('')}${get('trace') ? ` | trace_id="${get('trace')}"` : ''}` }];
  if (path === 'logs/volume') {
    const step = Number.parseInt(get('step'), 10) * 1000;
    const buckets = [];
    for (let at = Math.floor(from / step) * step; at < to; at += step) for (const [level, share] of [['info', 60], ['debug', 20], ['warn', 6], ['error', at % 7 === 0 ? 14 : 2], ['', 5]]) buckets.push({ t: `${at}000000`, level, lines: Math.floor(share * (0.5 + random()) * (1 + Math.sin(at / 6e5) * 0.6)), bytes: 1 });
    return [200, { buckets, step: `${step}000000`, coverage }];
  }
  if (path.startsWith('logs/line/')) {
    const id = decodeURIComponent(path.slice(10));
    return [200, { lines: Array.from({ length: 21 }, (_, i) => ({ ...line(Date.now() - 9e5 + i * 50), ...(i === 10 ? { id } : {}) })), coverage }];
  }
  if (path === 'traces/services') return [200, { services }];
  if (path === 'traces/operations') return [200, { operations: [{ name: 'POST /cart/checkout', kind: 'server' }] }];
  if (path === 'traces') return [200, { traces: traceIds.map((id, i) => ({ id, root_service: 'frontend', root_name: pick(['POST /cart/checkout', 'GET /product', 'GET /']), has_root: i !== 4, start: ns(Date.now() - i * 61_000), duration: String(Math.floor(random() * 9e8)), spans: 4 + Math.floor(random() * 50), errors: i % 5 === 0 ? 2 : 0, matched: 1 })), coverage }];
  if (/^traces\/.*\/logs$/.test(path)) {
    const lines = Array.from({ length: 30 }, (_, i) => line(Date.now() - 6e5 + i * 15)).map((one, i) => ({ ...one, at: `${BigInt(one.t) + (i % 3 ? 0n : 50_000_000n)}`, placed: i % 3 ? 'time' : 'clock', moved_by_clock: i % 3 ? '0' : '50000000', moved_by_span: '0', moved_by_stream: '0' }));
    return [200, { lines, order: 'mixed', moved: 10, clocks: [{ clock: 'node-a', offset: '0', calls: 0 }, { clock: 'node-b', offset: '50000000', calls: 4 }], spans_refused: '', more: false, coverage }];
  }
  if (path.startsWith('traces/')) return /^0+1$/.test(path.slice(7)) ? [404, { error: 'no span of trace 1 has been seen', coverage }] : [200, trace(path.slice(7))];
  if (path === 'status') return [200, { version: '0.1.0', started: ns(Date.now() - 5e6), outages: [], path: [], remote_write: [{ name: 'far', pending_records: 0, pending_bytes: 4e5, lag_seconds: 0, last_error: null }, { name: 'away', pending_records: 8123, pending_bytes: 3e8, lag_seconds: 512.5, last_error: { time: ns(Date.now() - 4e3), text: 'it answered 503' } }] }];
  if (path === 'path') return [200, { version: '0.1.0', started: ns(Date.now() - 5e6), coverage, totals: {}, collectors: [{ node: 'node-a', version: '0.1.0', seen: ns(Date.now() - 2e3), silent: false, queues: { 'weir.logs': { queued_bytes: 3e6, queue_bytes_max: 6.7e7, unacknowledged_seconds: 0.02 } } }, { node: 'node-b', version: '0.1.0', seen: ns(Date.now() - 90e3), silent: true, queues: {} }], owners: [{ owner: 'http://10.0.0.1:9640', answers: true, partitions: 3, lag: 0, head_bytes: 4e6 }, { owner: 'http://10.0.0.2:9640', answers: false, partitions: 3, lag: 3, head_bytes: 0 }], partitions: ['weir.logs', 'weir.metrics', 'weir.spans'].flatMap((topic) => [0, 1].map((partition) => ({ topic, partition, owner: `http://10.0.0.${partition + 1}:9640`, epoch: 4, answers: partition === 0, on_bus: 12_000 + partition, searchable: 12_000, sealed: 11_000, lag: partition, head_bytes: 4e6, head_records: 1000, blocks: 9, block_bytes: 8e7, duplicates: 3, gaps: 0, quarantined: 0, losses: partition ? [[3, 5]] : [] }))) }];
  if (path === '/api/v1/query_range') return [200, { status: 'success', data: { resultType: 'matrix', result: promSeries(Number(get('start')), Number(get('end')), Number.parseFloat(get('step'))) } }];
  if (path === '/api/v1/query') return [200, { status: 'success', data: { resultType: 'vector', result: promSeries(0, 10, 10).map(({ metric, values }) => ({ metric, value: values[0] })) } }];
  if (path === '/api/v1/label/__name__/values') return [200, { status: 'success', data: ['container_cpu_usage_seconds_total', 'container_memory_working_set_bytes', 'up'] }];
  if (path === '/api/v1/rules') return [200, { status: 'success', data: rules }];
  if (path === '/api/v1/alerts') return [200, { status: 'success', data: { alerts: rules.groups[0].rules.flatMap((rule) => rule.alerts) } }];
  return [404, { error: `no such path: ${url.pathname}` }];
}

const server = createServer((request, response) => {
  const [status, body] = answer(new URL(request.url, 'http://mock'));
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
});
new WebSocketServer({ server }).on('connection', (socket) => {
  const timer = setInterval(() => socket.send(JSON.stringify({ lines: [line(Date.now())], dropped: 0 })), 400);
  socket.on('close', () => clearInterval(timer));
});
server.listen(PORT, '127.0.0.1', () => console.log(`mock API on http://127.0.0.1:${PORT}`));
