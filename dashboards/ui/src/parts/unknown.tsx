// Under an empty answer: which names of the query nobody knows, and what may have been meant; a click puts it into the query.
import { useAsk } from '../core/ask';
import { labelNames, unknownNames } from '../core/suggest';
import { metricNames } from '../graph/unit';

interface Props {
  query: string;
  language: 'promql' | 'logql';
  /** All names of metrics and labels that are known. */
  ask: (signal: AbortSignal) => Promise<{ metrics: string[]; labels: string[] }>;
  onPick: (query: string) => void;
}

export function Unknown({ query, language, ask, onPick }: Props) {
  const known = useAsk(`${language} ${query}`, ask).data;
  if (!known) return null;
  const unknown = [
    ...(language === 'promql' ? unknownNames(metricNames(query), known.metrics, 'metric') : []),
    ...unknownNames(labelNames(query), known.labels, 'label'),
  ];
  if (unknown.length === 0) return null;
  return (
    <ul class="unknown" aria-label="Names that are not known">
      {unknown.map(({ said, name, instead }) => (
        <li key={said}>{said} {instead && <button type="button" class="link" onClick={() => onPick(query.replace(new RegExp(`(?<![\\w:.])${name}(?![\\w:])`, 'g'), instead))}>Ask for {instead}</button>}</li>
      ))}
    </ul>
  );
}
