// The little of LogQL that the page writes itself: matchers and filters added by a click. It parses nothing.

/** A string as LogQL quotes it. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/** The query with one more matcher in its selector, or with the old one for that label replaced. */
export function withMatcher(query: string, label: string, value: string): string {
  const logql = query.trim();
  const end = selectorEnd(logql);
  if (!logql.startsWith('{') || end < 0) return `{${label}=${quote(value)}}`;
  const inside = logql.slice(1, end).trim();
  const kept = splitMatchers(inside).filter((matcher) => !new RegExp(`^${label}\\s*(=|!)`).test(matcher));
  return `{${[...kept, `${label}=${quote(value)}`].join(', ')}}${logql.slice(end + 1)}`;
}

/** The query with one more label filter at its end, or with the old one of that label replaced. `test` is an operator and a string. */
export function withLabelFilter(query: string, label: string, test: string): string {
  const old = new RegExp(`\\s*\\|\\s*${label}\\s*(?:=~|!~|!=|=)\\s*(?:"(?:\\\\.|[^"\\\\])*"|\`[^\`]*\`)`, 'g');
  return `${query.trim().replace(old, '')} | ${label}${test}`;
}

/** The place of the brace that closes the selector, strings left out of account; -1 when there is none. */
function selectorEnd(text: string): number {
  let quoted = '';
  for (let i = 0; i < text.length; i += 1) {
    const letter = text[i]!;
    if (quoted) {
      if (letter === '\\' && quoted === '"') i += 1;
      else if (letter === quoted) quoted = '';
    } else if (letter === '"' || letter === '`') quoted = letter;
    else if (letter === '}') return i;
  }
  return -1;
}

function splitMatchers(text: string): string[] {
  const parts = text.match(/[^\s,][^=!~]*[=!~]+\s*(?:"(?:\\.|[^"\\])*"|`[^`]*`)/g);
  return parts ? parts.map((part) => part.trim()) : [];
}

/** Where an error says it is: `line 1, col 5`, `1:5`, `at position 5`; 0-based offset into `query`. */
export function errorPosition(message: string, query: string): number | undefined {
  const lineColumn = /line (\d+),? col(?:umn)? (\d+)/i.exec(message) ?? /(?:^|[\s"(])(\d+):(\d+)\b/.exec(message);
  if (lineColumn) {
    const lines = query.split('\n');
    const before = lines.slice(0, Number(lineColumn[1]) - 1).reduce((sum, line) => sum + line.length + 1, 0);
    const at = before + Number(lineColumn[2]) - 1;
    return at >= 0 && at <= query.length ? at : undefined;
  }
  const offset = /(?:at|position|byte|offset|char(?:acter)?) (\d+)/i.exec(message);
  const at = offset ? Number(offset[1]) : undefined;
  return at !== undefined && at <= query.length ? at : undefined;
}
