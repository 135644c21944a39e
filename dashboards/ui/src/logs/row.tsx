// One log line: a row, and what opens under it. Whatever is in the line stays text.
import { useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { bytes, clock, nanos, plain } from '../core/format';
import { withLabelFilter, withMatcher } from '../core/logql';
import { go, path, setParams, to } from '../core/route';
import { isoNanos, SECOND } from '../core/time';
import type { Line } from '../core/types';
import { runs, type Run } from './ansi';
import { cutAt, levelName, levelOf, levelTest, OPEN_CHARS, rowRuns, sourceOf, traceOf, type Mark } from './lines';

/** Around a line, to look for the others of its trace. */
const HOUR = 3600n * SECOND;

/** What a view says of a line beyond what is in it. */
export interface Beside {
  /** Where the view puts it in time. */
  at: bigint;
  cells: ComponentChildren;
  /** What its details say of it first. */
  fields: Record<string, string>;
  /** Whether it stands out from the others. */
  lit: boolean;
}

interface Props {
  line: Line;
  /** The line that this one continues: it stands for time, level and source. */
  head?: Line | undefined;
  query: string;
  open: boolean;
  wanted: Mark[];
  day: boolean;
  marked?: boolean;
  beside?: Beside | undefined;
  onToggle: () => void;
}

export function LineRow({ line, head, query, open, wanted, day, marked, beside, onToggle }: Props) {
  const own = levelOf(levelName(line));
  const level = head && own === 'none' ? levelOf(levelName(head)) : own;
  const at = beside?.at ?? nanos(line.t);
  const when = <time dateTime={isoNanos(at)} title={isoNanos(at)}>{clock(at, day)}</time>;
  const click = (event: MouseEvent) => {
    // A click that ends a selection of text copies; it does not open.
    if ((event.target as Element).closest('a,button') || !window.getSelection()?.isCollapsed) return;
    onToggle();
  };
  return (
    <>
      <div class={`line level-${level}${marked ? ' marked-line' : ''}${head ? ' continued' : ''}${beside?.lit ? ' lit' : ''}`} onClick={click}>
        <button type="button" class="opener" aria-expanded={open} aria-label={`Details of the line at ${clock(at)}`} onClick={onToggle}>{open ? '▾' : '▸'}</button>
        {beside ? <a class="when" href={to(`/line/${encodeURIComponent(line.id)}`)} aria-label={`Permanent link of the line at ${clock(at)}`}>{when}</a> : when}
        {beside?.cells}
        {level === 'none' || head ? <span class="level" /> : <button type="button" class="level" title={`Only ${level}`} aria-label={`Only lines of level ${level}`} onClick={() => narrow(withLabelFilter(query, 'detected_level', levelTest(level)))}>{level}</button>}
        <span class="source" title={sourceOf(line.stream)}>{head ? '' : sourceOf(line.stream)}{!head && line.stream['stream'] === 'stderr' && <span class="fd"> stderr</span>}</span>
        <span class="text">{inked(rowRuns(line.line), wanted)}</span>
      </div>
      {open && <Details line={line} query={query} about={beside?.fields} />}
    </>
  );
}

/** Runs in their colours, with what was looked for marked. */
function inked(parts: Run[], wanted: Mark[]) {
  return parts.map(({ text, classes }, i) => (classes ? <span key={i} class={classes}>{marks(text, wanted)}</span> : marks(text, wanted)));
}

function marks(text: string, wanted: Mark[]) {
  const parts = cutAt(text, wanted);
  return parts.length === 1 ? text : parts.map((part, i) => (i % 2 === 1 ? <mark key={i}>{part}</mark> : part));
}

function Details({ line, query, about }: { line: Line; query: string; about: Record<string, string> | undefined }) {
  const [whole, setWhole] = useState(false);
  const at = nanos(line.t);
  const trace = traceOf(line);
  const shown = whole ? line.line : line.line.slice(0, OPEN_CHARS);
  return (
    <div class="details">
      <pre class="body" tabIndex={0} aria-label="Whole line">{inked(runs(shown), [])}</pre>
      {line.line.length > shown.length && (
        <button type="button" class="link" onClick={() => setWhole(true)}>Show all {bytes(line.line.length)}</button>
      )}
      <p class="actions">
        {trace && <a href={`/trace/${trace}`}>Trace {trace.slice(0, 8)}…</a>}
        {trace && <a href={to('/logs', { trace, from: isoNanos(at - HOUR), to: isoNanos(at + HOUR) })}>Lines of this trace</a>}
        <a href={to(`/line/${encodeURIComponent(line.id)}`)} class="permalink">Permanent link</a>
        <a href={to(`/line/${encodeURIComponent(line.id)}`, { context: '25' })}>In its context</a>
        <Copy text={line.line} name="Copy line" />
        <span class="muted">{isoNanos(at)} · id {line.id}</span>
      </p>
      <Fields title="Place in the trace" fields={about} />
      <Fields title="Stream" fields={line.stream} query={query} />
      <Fields title="Attributes" fields={line.attributes} />
      <Fields title="Parsed" fields={parsedOnly(line)} />
      {line.span_id && <Fields title="Span" fields={{ trace_id: line.trace_id, span_id: line.span_id }} />}
    </div>
  );
}

function parsedOnly(line: Line): Record<string, string> {
  const known = { ...line.stream, ...line.attributes };
  return Object.fromEntries(Object.entries(line.labels ?? {}).filter(([name, value]) => known[name] !== value));
}

/** With a query, each field can narrow it. */
function Fields({ title, fields, query }: { title: string; fields: Record<string, unknown> | undefined; query?: string }) {
  const entries = Object.entries(fields ?? {});
  if (entries.length === 0) return null;
  return (
    <dl class="fields" aria-label={title}>
      <div class="fields-title"><dt>{title}</dt><dd /></div>
      {entries.slice(0, 200).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            {plain(value)}
            {query !== undefined && <button type="button" class="link" aria-label={`only this: ${name} ${plain(value)}`} onClick={() => narrow(withMatcher(query, name, plain(value)))}>only this</button>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** In the log search its query becomes another; elsewhere a search begins. */
function narrow(q: string): void {
  if (path.value === '/logs') setParams({ q, trace: undefined, span: undefined });
  else go(to('/logs', { q }));
}

export function Copy({ text, name }: { text: string; name: string }) {
  const [done, setDone] = useState('');
  const copy = () => {
    const clipboard = navigator.clipboard as Clipboard | undefined;
    if (!clipboard) return setDone('the browser keeps the clipboard from plain http');
    clipboard.writeText(text).then(() => setDone('copied'), () => setDone('the browser said no'));
  };
  return <><button type="button" class="link" onClick={copy}>{name}</button><span role="status" class="muted">{done}</span></>;
}
