// Alerting rules and what they fire. Asks again every 5 seconds; what burns stands first.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { ago, count, duration } from '../core/format';
import { params, setParams, to } from '../core/route';
import { MS, nowNanos, SECOND } from '../core/time';
import type { Alert, Rule } from '../core/types';
import { Empty, ErrorNote } from '../parts/notes';

const ORDER = ['firing', 'pending', 'inactive', 'unknown'];

interface Placed extends Rule {
  group: string;
  file: string;
}

export function Alerts() {
  const asked = useAsk('rules', (signal) => api.rules(signal), 5000);
  const only = params.value.get('state') ?? '';
  const rules: Placed[] = (asked.data?.groups ?? []).flatMap((group) =>
    group.rules.filter((rule) => rule.type === 'alerting').map((rule) => ({ ...rule, group: group.name, file: group.file })));
  const state = (rule: Rule) => (ORDER.includes(rule.state ?? '') ? rule.state! : 'unknown');
  const shown = rules.filter((rule) => !only || state(rule) === only).sort((one, two) => ORDER.indexOf(state(one)) - ORDER.indexOf(state(two)));
  return (
    <section>
      <div class="bar">
        <h1>Alerts</h1>
        <div class="toggles" role="group" aria-label="Only rules that are">
          {ORDER.slice(0, 3).map((name) => (
            <button type="button" key={name} aria-pressed={only === name} onClick={() => setParams({ state: only === name ? undefined : name })}>
              <span class={`state ${name}`}>{name}</span> {count(rules.filter((rule) => state(rule) === name).length)}
            </button>
          ))}
        </div>
      </div>
      <ErrorNote error={asked.error} />
      {!asked.data && !asked.error && <p class="muted pad" role="status">Asking …</p>}
      {shown.map((rule) => <RuleCard key={`${rule.file}/${rule.group}/${rule.name}`} rule={rule} state={state(rule)} />)}
      {asked.data && rules.length === 0 && <Empty title="There are no alerting rules">Name Prometheus rule files in the configuration; <code>weir check rules FILE</code> says whether one is right.</Empty>}
      {asked.data && rules.length > 0 && shown.length === 0 && <Empty title={`No rule is ${only}`}><button type="button" class="link" onClick={() => setParams({ state: undefined })}>Show all {count(rules.length)}</button></Empty>}
    </section>
  );
}

function RuleCard({ rule, state }: { rule: Placed; state: string }) {
  const alerts = rule.alerts ?? [];
  return (
    <article class={`rule ${state}`} data-state={state}>
      <div class="rule-head">
        <h2>{rule.name}</h2><span class={`badge ${state}`}>{state}</span>
        <span class="muted">{rule.group}{rule.duration ? `, for ${duration(BigInt(Math.round(rule.duration)) * SECOND)}` : ''}</span>
        <a href={to('/graph', { q: rule.query })} aria-label={`Graph of ${rule.name}`}>graph</a>
      </div>
      <pre>{rule.query}</pre>
      {rule.lastError && <p class="bad">The last evaluation failed: {rule.lastError}</p>}
      <Labels labels={rule.labels ?? {}} />
      {alerts.length > 0 && (
        <div class="table-box" tabIndex={0} role="region" aria-label={`Alerts of ${rule.name}`}>
          <table>
            <thead><tr><th scope="col">State</th><th scope="col">Labels</th><th scope="col">Since</th><th scope="col" class="number">Value</th></tr></thead>
            <tbody>{alerts.slice(0, 200).map((alert, i) => <AlertRow key={i} alert={alert} />)}</tbody>
          </table>
        </div>
      )}
      {alerts.length > 200 && <p class="warn">{count(alerts.length)} alerts; the first 200 are shown.</p>}
    </article>
  );
}

function AlertRow({ alert }: { alert: Alert }) {
  const since = Date.parse(alert.activeAt ?? '');
  const summary = alert.annotations['summary'] ?? alert.annotations['description'];
  return (
    <tr>
      <td><span class={`state ${ORDER.includes(alert.state) ? alert.state : ''}`}>{alert.state}</span></td>
      <td class="series-name"><Labels labels={alert.labels} />{summary && <span class="sub">{summary}</span>}</td>
      <td title={alert.activeAt}>{Number.isNaN(since) ? '–' : ago(BigInt(since) * MS, nowNanos())}</td>
      <td class="number mono">{alert.value}</td>
    </tr>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  return <>{Object.entries(labels).filter(([name]) => name !== 'alertname').map(([name, value]) => <span class="label" key={name}>{name}={value}</span>)}</>;
}
