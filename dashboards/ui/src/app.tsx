// The frame around every view: skip link, navigation, theme, help. Chooses the view from the path; holds no data.
import { useEffect, useRef } from 'preact/hooks';
import { api, outages, signedOut, silence } from './core/api';
import { useAsk } from './core/ask';
import { learnCaller, tenant } from './core/caller';
import { clock } from './core/format';
import { helpOpen, KEYS, onKey } from './core/keys';
import { catchLinks, path } from './core/route';
import { dark, toggleTheme } from './core/theme';
import { Who } from './parts/who';
import { Alerts } from './views/alerts';
import { Containers } from './views/containers';
import { Health } from './views/health';
import { LinePage } from './views/line';
import { Logs } from './views/logs';
import { Metrics } from './views/metrics';
import { SignIn } from './views/signin';
import { TracePage } from './views/trace';
import { Traces } from './views/traces';
import { UsageView } from './views/usage';

const TABS: [string, string, RegExp][] = [
  ['/', 'Containers', /^\/$/],
  ['/logs', 'Logs', /^\/(logs|line)/],
  ['/traces', 'Traces', /^\/traces?/],
  // Not /metrics: that is weir's own exposition, which a reload would show. Alertmanager links to /graph, as Prometheus has it.
  ['/graph', 'Metrics', /^\/graph/],
  ['/alerts', 'Alerts', /^\/alerts/],
  ['/health', 'Health', /^\/health/],
  ['/usage', 'Usage', /^\/usage/],
];

export function App() {
  useEffect(() => {
    const keys = (event: KeyboardEvent) => onKey(event, toggleTheme);
    document.addEventListener('keydown', keys);
    document.addEventListener('click', catchLinks);
    void learnCaller();
    return () => {
      document.removeEventListener('keydown', keys);
      document.removeEventListener('click', catchLinks);
    };
  }, []);
  return (
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <Header />
      <Silence />
      <Outages />
      {/* Another tenant is another page: nothing of the one before stays. */}
      <main id="main" tabIndex={-1}>{signedOut.value ? <SignIn /> : <View key={tenant.value} at={path.value} />}</main>
      {helpOpen.value && <Help />}
    </>
  );
}

function View({ at }: { at: string }) {
  useEffect(() => {
    const tab = TABS.find(([, , match]) => match.test(at));
    document.title = tab ? `${tab[1]} · weir` : 'weir';
  }, [at]);
  const [, first = '', rest = ''] = at.split('/');
  const id = safeDecode(rest);
  switch (first) {
    case '': return <Containers />;
    case 'logs': return <Logs />;
    case 'line': return <LinePage id={id} />;
    case 'trace': return id ? <TracePage key={id} id={id} /> : <Traces />;
    case 'traces': return <Traces />;
    case 'graph': return <Metrics />;
    case 'alerts': return <Alerts />;
    case 'health': return <Health />;
    case 'usage': return <UsageView />;
    default: return <Nowhere at={at} />;
  }
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function Nowhere({ at }: { at: string }) {
  return (
    <section class="empty">
      <h1>There is no page here</h1>
      <p><code>{at}</code> is none of weir’s views. <a href="/">To the containers</a></p>
    </section>
  );
}

/** Says on every view that weir does not answer, since when, and of when the page is that stands below. */
function Silence() {
  const away = silence.value;
  return (
    <div role="status" class={away ? 'silence' : 'hidden'}>
      {away && <><strong>weir has not answered since {clock(away.since).slice(0, 8)}</strong> {away.last > 0n ? `What is shown is of ${clock(away.last, true).slice(0, 19)} or before, the time of its last answer.` : 'It has not answered since the page was opened.'} It is asked again every 2 seconds.</>}
    </div>
  );
}

/** Says on every view what weir cannot write, in its own words. */
function Outages() {
  if (outages.value.length === 0) return null;
  return (
    <div role="alert" class="outage">
      {outages.value.map(({ what, text }) => <p key={what} class="wrap"><strong>{what === 'bus' ? 'New records are not being stored.' : 'weir cannot write everything.'}</strong> {text}</p>)}
    </div>
  );
}

/** How often the number of firing alerts is asked for; a weir that is silent or cannot write is asked at the shorter pace whether that is over. */
const ALERTS_MS = 10_000;
const SILENT_MS = 2000;

function Header() {
  const alerts = useAsk(signedOut.value ? undefined : `alerts ${tenant.value}`, (signal) => api.alerts(signal), silence.value || outages.value.length > 0 ? SILENT_MS : ALERTS_MS);
  const firing = (alerts.data?.alerts ?? []).filter((alert) => alert.state === 'firing').length;
  return (
    <header class={`top ${outages.value.length > 0 ? 'troubled' : ''}`}>
      <a class="brand" href="/" aria-label="weir, containers"><img src="/icon.svg" alt="" width="20" height="20" />weir</a>
      <nav aria-label="Views">
        {TABS.map(([href, name, match]) => (
          <a key={href} href={href} aria-current={match.test(path.value) ? 'page' : undefined}>{name}{href === '/alerts' && firing > 0 && <span class="firing-count">{firing}<span class="hidden"> firing</span></span>}</a>
        ))}
      </nav>
      <div class="top-tools">
        <Who />
        <button type="button" class="quiet" onClick={toggleTheme} aria-label={dark.value ? 'Light theme' : 'Dark theme'} title="Light or dark (t)">
          {dark.value ? '☀' : '☾'}
        </button>
        <button type="button" class="quiet" onClick={() => { helpOpen.value = true; }} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">?</button>
      </div>
    </header>
  );
}

function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const close = () => { helpOpen.value = false; };
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close} onCancel={close}>
      <h2 id="help-title">Keyboard shortcuts</h2>
      <dl>
        {KEYS.map(([keys, does]) => (
          <div key={keys}><dt>{keys.split(' ').filter(Boolean).map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{does}</dd></div>
        ))}
      </dl>
      <button type="button" onClick={close}>Close</button>
    </dialog>
  );
}
