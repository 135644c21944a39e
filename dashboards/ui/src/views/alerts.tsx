// Alerting rules and what they fire. Asks again every 5 seconds; what burns stands first.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { leadsOf, linkPieces } from '../alerts/links';
import { ago, clock, counted, duration } from '../core/format';
import { inUnit, unitOf } from '../graph/unit';
import { params, setParams, to } from '../core/route';
import { MS, nowNanos, SECOND } from '../core/time';
import type { Alert, Rule } from '../core/types';
import { Empty, ErrorNote } from '../parts/notes';

const ORDER = ['firing', 'pending', 'inactive', 'unknown'];

/** Firing and pending ones are counted as alerts, of which a rule may have many; rules without any as rules. */
function tally(rules: Rule[], state: string): string {
  if (state === 'inactive') return counted(rules.filter((rule) => rule.state === state).length, 'rule');
  return counted(rules.reduce((sum, rule) => sum + (rule.alerts ?? []).filter((alert) => alert.state === state).length, 0), 'alert');
}

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
              <span class={`state ${name}`}>{name}</span> {tally(rules, name)}
            </button>
          ))}
        </div>
      </div>
      <ErrorNote error={asked.error} />
      {!asked.data && !asked.error && <p class="muted pad" role="status">Asking …</p>}
      {shown.map((rule) => <RuleCard key={`${rule.file}/${rule.group}/${rule.name}`} rule={rule} state={state(rule)} />)}
      {asked.data && rules.length === 0 && <Empty title="There are no alerting rules">Name Prometheus rule files in the configuration; <code>weir check rules FILE</code> says whether one is right.</Empty>}
      {asked.data && rules.length > 0 && shown.length === 0 && <Empty title={`No rule is ${only}`}><button type="button" class="link" onClick={() => setParams({ state: undefined })}>Show all {counted(rules.length, 'rule')}</button></Empty>}
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
      {alerts.length === 0 && <Annotations annotations={rule.annotations ?? {}} />}
      {alerts.slice(0, 200).map((alert, i) => <ActiveAlert key={i} alert={alert} rule={rule} />)}
      {alerts.length > 200 && <p class="warn">{counted(alerts.length, 'alert')}; the first 200 are shown.</p>}
    </article>
  );
}

function ActiveAlert({ alert, rule }: { alert: Alert; rule: Rule }) {
  const active = Date.parse(alert.activeAt ?? '');
  const since = Number.isNaN(active) ? undefined : BigInt(active) * MS;
  const now = nowNanos();
  const leads = leadsOf(alert.labels, rule.query, since ?? now, now);
  return (
    <section class="alert" aria-label={`${alert.state} alert of ${rule.name}`}>
      <p class="alert-head">
        <span class={`state ${ORDER.includes(alert.state) ? alert.state : ''}`}>{alert.state}</span>
        {since !== undefined && <span>since <time dateTime={alert.activeAt} title={alert.activeAt}>{clock(since, true).slice(0, 19)}</time>, {ago(since, now)} ago</span>}
        <span>value <b title={alert.value}>{valueOf(alert.value, rule.query)}</b></span>
        <span class="links">
          {leads.logs && <a href={leads.logs}>logs</a>}{leads.traces && <a href={leads.traces}>traces</a>}<a href={leads.metrics}>metrics</a>{leads.container && <a href={leads.container}>container</a>}
        </span>
      </p>
      <Labels labels={alert.labels} />
      <Annotations annotations={alert.annotations} />
    </section>
  );
}

function valueOf(text: string, query: string): string {
  return Number.isFinite(Number(text)) ? inUnit(Number(text), unitOf(query)) : text;
}

/** All of them, the runbook among them. What they link to is another site's: it learns nothing of this page. */
function Annotations({ annotations }: { annotations: Record<string, string> }) {
  const entries = Object.entries(annotations);
  if (entries.length === 0) return null;
  return (
    <dl class="fields annotations" aria-label="Annotations">
      {entries.map(([name, text]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{linkPieces(text).map((piece, i) => (i % 2 === 1 ? <a key={i} href={piece} target="_blank" rel="noopener noreferrer">{piece}</a> : piece))}</dd>
        </div>
      ))}
    </dl>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  return <>{Object.entries(labels).filter(([name]) => name !== 'alertname').map(([name, value]) => <span class="label" key={name}>{name}={value}</span>)}</>;
}
