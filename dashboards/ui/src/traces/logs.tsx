// The log lines of a trace in causal order: which span each belongs to, how far it was moved, and what the order rests on.
import { useMemo } from 'preact/hooks';
import type { ApiError } from '../core/api';
import { counted, nanos } from '../core/format';
import { params, to } from '../core/route';
import { isoNanos, SECOND } from '../core/time';
import type { PlacedLine, Span, TraceLogsAnswer } from '../core/types';
import { LineList } from '../logs/list';
import { readOrder } from '../logs/order';
import type { Beside } from '../logs/row';
import { OrderPicker } from '../parts/order';
import { CoverageNote, ErrorNote } from '../parts/notes';
import { clockText, movedBy, orderNotes, placeFields, signed } from './place';
import type { Tree } from './tree';
import { hue } from './waterfall';

/** Around a trace, to look for its lines in the log search. */
const AROUND = 300n * SECOND;

interface Props {
  id: string;
  /** Of the trace's spans, where they have been seen. */
  tree: Tree | undefined;
  answer: TraceLogsAnswer | undefined;
  error: ApiError | undefined;
  busy: boolean;
  /** The chosen span: its lines are marked. */
  chosen: string;
  onChoose: (span: string) => void;
}

export function TraceLogs({ id, tree, answer, error, busy, chosen, onChoose }: Props) {
  const order = readOrder(params.value, 'oldest');
  const lines = useMemo(() => (order === 'oldest' ? answer?.lines : [...answer?.lines ?? []].reverse()) ?? [], [answer, order]);
  const spans = useMemo(() => new Map(tree?.rows.map(({ span }) => [span.id, span])), [tree]);
  const beside = (line: PlacedLine): Beside => {
    const span = spans.get(line.span_id);
    return {
      at: nanos(line.at),
      fields: placeFields(line),
      lit: chosen !== '' && line.span_id === chosen,
      cells: <><Moved line={line} /><SpanCell span={span} tree={tree} chosen={chosen} onChoose={onChoose} /></>,
    };
  };
  const range = tree && tree.rows.length > 0 ? { from: isoNanos(tree.start - AROUND), to: isoNanos(tree.end + AROUND) } : { from: 'now-24h' };
  const said = busy && !answer ? 'Searching …' : error ? '' : counted(lines.length, 'line');
  return (
    <div class="trace-logs">
      <div class="bar">
        <h2>Logs of this trace</h2>
        <span class="muted" role="status">{said}</span>
        <a href={to('/logs', { trace: id, ...range })}>Open in log search</a>
        <OrderPicker preferred="oldest" names={{ oldest: 'Cause first', newest: 'Cause last' }} />
      </div>
      {error?.status === 404 ? <p class="muted">No line of it in the last hour either.</p> : <ErrorNote error={error} />}
      {!error && <Order answer={answer} />}
      {!error && lines.length > 0 && <LineList key={order} lines={lines} order={order} wanted={[]} wrap={false} day={false} keys={false} beside={beside} label={`Log lines of the trace, ${order === 'oldest' ? 'cause first' : 'cause last'}`} />}
    </div>
  );
}

function Order({ answer }: { answer: TraceLogsAnswer | undefined }) {
  if (!answer) return null;
  const clocks = answer.clocks.map(clockText).filter((text) => text !== '');
  const notes = orderNotes(answer);
  return (
    <>
      {clocks.length > 0 && <ul class="clocks" aria-label="Clocks of the trace">{clocks.map((text) => <li key={text}>{text}</li>)}</ul>}
      {notes.map((text) => <p key={text} class="warn order-note">{text}</p>)}
      <CoverageNote coverage={answer.coverage} />
    </>
  );
}

/** How far the line was moved; what for is in its details. */
function Moved({ line }: { line: PlacedLine }) {
  const by = signed(movedBy(line));
  return (
    <span class="moved" title={by && `Moved by ${by} from ${isoNanos(nanos(line.t))}, which its own clock said`}>
      {by && <span class="hidden">moved by </span>}{by}
    </span>
  );
}

function SpanCell({ span, tree, chosen, onChoose }: { span: Span | undefined; tree: Tree | undefined; chosen: string; onChoose: (id: string) => void }) {
  if (!span || !tree) return <span class="of-span muted">–</span>;
  return (
    <button type="button" class="of-span" aria-pressed={span.id === chosen} aria-label={`Span ${span.service}: ${span.name}`} title={`${span.service}: ${span.name}`} onClick={() => onChoose(span.id)}>
      <span class={`swatch ${hue(tree.services, span.service)}`} aria-hidden="true" />{span.name}
    </button>
  );
}
