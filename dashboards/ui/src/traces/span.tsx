// Everything about one span.
import { clock, duration, nanos, plain } from '../core/format';
import { to } from '../core/route';
import { isoNanos, SECOND } from '../core/time';
import type { Span } from '../core/types';

export function SpanDetails({ span, traceStart, traceId }: { span: Span; traceStart: bigint; traceId: string }) {
  const start = nanos(span.start);
  const took = nanos(span.duration);
  const logs = to('/logs', { trace: traceId, span: span.id, from: isoNanos(start - 60n * SECOND), to: isoNanos(start + took + 60n * SECOND) });
  return (
    <aside class="side" aria-label="Span">
      <h2 class="wrap">{span.name}</h2>
      <Fields title="Span" fields={{
        service: span.service, kind: span.kind, status: `${span.status}${span.status_message ? `: ${span.status_message}` : ''}`,
        start: `${clock(start, true)} (+${duration(start - traceStart)})`, duration: duration(took), scope: span.scope, id: span.id, parent: span.parent_id || 'none',
      }} />
      {span.orphan && <p class="warn">Its parent {span.parent_id} is named but has not been seen.</p>}
      <p class="actions"><a href={logs}>Logs with this span’s id</a></p>
      <Fields title="Attributes" fields={span.attributes} />
      {span.events.length > 0 && <h3>Events</h3>}
      {span.events.slice(0, 200).map((event, i) => <Fields key={i} title={`+${duration(nanos(event.t) - start)} ${event.name}`} fields={event.attributes} />)}
      {span.links.length > 0 && <h3>Links</h3>}
      {span.links.slice(0, 100).map((link, i) => (
        <p key={i} class="wrap"><a href={`/trace/${encodeURIComponent(link.trace_id)}`}>{link.trace_id === traceId ? 'this trace' : link.trace_id}</a> span {link.span_id}</p>
      ))}
      <Fields title="Resource" fields={span.resource} />
    </aside>
  );
}

function Fields({ title, fields }: { title: string; fields: Record<string, unknown> }) {
  const entries = Object.entries(fields).filter(([, value]) => value !== '' && value !== undefined);
  if (entries.length === 0 && !title.startsWith('+')) return null;
  return (
    <dl class="fields" aria-label={title}>
      <div class="fields-title"><dt>{title}</dt><dd /></div>
      {entries.slice(0, 200).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{plain(value)}</dd></div>)}
    </dl>
  );
}
