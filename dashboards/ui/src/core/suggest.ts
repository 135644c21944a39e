// What a mistyped name may have meant: the nearest known one. And which names of a query nobody knows. Pure.
import { bareQuery } from '../graph/unit';

/** The known name that is nearest to `name`, if it is near: a third of it may differ. */
export function nearest(name: string, known: string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const other of known) {
    // Each missing letter is a difference: most names are told apart by their length alone.
    if (Math.abs(other.length - name.length) >= least) continue;
    const differs = distance(name.toLowerCase(), other.toLowerCase(), least);
    if (differs < least) [best, least] = [other, differs];
  }
  return best;
}

/** Letters to change, add, take away or swap with their neighbour; `most` when there are that many or more. */
function distance(one: string, two: string, most: number): number {
  let before: number[] = [];
  let row = Array.from({ length: two.length + 1 }, (_, i) => i);
  for (let i = 1; i <= one.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= two.length; j += 1) {
      const same = one[i - 1] === two[j - 1];
      let least = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && one[i - 1] === two[j - 2] && one[i - 2] === two[j - 1]) least = Math.min(least, before[j - 2]! + 1);
      next.push(least);
    }
    if (Math.min(...next) >= most) return most;
    [before, row] = [row, next];
  }
  return row[two.length]!;
}

/** Names of labels in the query's selectors. */
export function labelNames(query: string): string[] {
  const selectors = bareQuery(query).match(/\{[^}]*\}/g) ?? [];
  return [...new Set(selectors.flatMap((selector) => [...selector.matchAll(/([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)/g)].map((found) => found[1]!)))].filter((name) => name !== '__name__');
}

/** A sentence for each name of `wanted` that is not known: `no metric named upp; did you mean up?` */
export function unknownNames(wanted: string[], known: string[], what: 'metric' | 'label'): { said: string; name: string; instead: string | undefined }[] {
  const all = new Set(known);
  return wanted.filter((name) => !all.has(name)).map((name) => {
    const instead = nearest(name, known);
    return { name, instead, said: `no ${what} named ${name}${instead ? `; did you mean ${instead}?` : ''}` };
  });
}
