// Terminal colours of a line as runs of text with classes from a closed set. Sequences that are no colour are left out. Pure.

/** A run of text and its classes; empty: plain. */
export interface Run {
  text: string;
  classes: string;
}

// A control sequence (its last letter says which), an operating system command, or a lone escape with what belongs to it.
const ESCAPE = /(?:\u001b\[|\u009b)([0-9;:?<=>]*)(?:[ -/]*([@-~]))?|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]?/g;
const NAMES = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const;
type Color = (typeof NAMES)[number] | '';

interface Style {
  front: Color;
  back: Color;
  bold: boolean;
  faint: boolean;
  under: boolean;
}

const PLAIN: Style = { front: '', back: '', bold: false, faint: false, under: false };

/** The text without escape sequences, cut where its colours change. */
export function runs(text: string): Run[] {
  const found: Run[] = [];
  let style = PLAIN;
  let from = 0;
  const add = (part: string) => { if (part) found.push({ text: part, classes: classesOf(style) }); };
  for (const escape of text.matchAll(ESCAPE)) {
    add(text.slice(from, escape.index));
    from = escape.index + escape[0].length;
    if (escape[2] === 'm' && /^[\d;:]*$/.test(escape[1]!)) style = restyled(style, escape[1]!.split(/[;:]/).map(Number));
  }
  add(text.slice(from));
  return found;
}

function restyled(old: Style, codes: number[]): Style {
  const next = { ...old };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i]!;
    if (code === 0) Object.assign(next, PLAIN);
    else if (code === 1) next.bold = true;
    else if (code === 2) next.faint = true;
    else if (code === 4) next.under = true;
    else if (code === 7) [next.front, next.back] = [next.back || 'black', next.front || 'white'];
    else if (code === 22) next.bold = next.faint = false;
    else if (code === 24) next.under = false;
    else if (code === 39) next.front = '';
    else if (code === 49) next.back = '';
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) next.front = NAMES[code % 10]!;
    else if ((code >= 40 && code <= 47) || (code >= 100 && code <= 107)) next.back = NAMES[code % 10]!;
    else if (code === 38 || code === 48) {
      const [color, used] = extended(codes.slice(i + 1));
      i += used;
      if (code === 38) next.front = color;
      else next.back = color;
    }
  }
  return next;
}

/** One of 256 colours (`5;n`) or a true one (`2;r;g;b`) as the nearest of the eight, and how many codes it took. */
function extended(codes: number[]): [Color, number] {
  if (codes[0] === 2) return [nearest(codes[1] ?? 0, codes[2] ?? 0, codes[3] ?? 0), 4];
  if (codes[0] !== 5) return ['', 0];
  const n = codes[1] ?? 0;
  if (n < 16) return [NAMES[n % 8]!, 2];
  if (n > 231) return [n > 243 ? 'white' : 'black', 2];
  const level = (part: number) => (part === 0 ? 0 : 55 + part * 40);
  return [nearest(level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6)), 2];
}

function nearest(red: number, green: number, blue: number): Color {
  const half = Math.max(red, green, blue) * 0.6;
  if (Math.max(red, green, blue) < 48) return 'black';
  return NAMES[(red > half ? 1 : 0) + (green > half ? 2 : 0) + (blue > half ? 4 : 0)]!;
}

function classesOf({ front, back, bold, faint, under }: Style): string {
  return [front && !back && `ink-${front}`, back && `ground-${back}`, bold && 'ink-bold', faint && !back && 'ink-faint', under && 'ink-under'].filter(Boolean).join(' ');
}
