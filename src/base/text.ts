/** Words for people: lists, plurals, tables, near misses. */

/** `1 path`, `2 paths`; `plural` for words that do not just take an s. */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listWords(words: readonly string[], conjunction = "and"): string {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} ${conjunction} ${words.at(-1)}`;
}

/** A sentence as it goes on after a colon: without its capital, unless that is part of a name such as ANA, I/O or 4K. */
export function midSentence(sentence: string): string {
  return /^[A-Z][a-z]*(?![A-Za-z0-9/])/.test(sentence) ? sentence[0]!.toLowerCase() + sentence.slice(1) : sentence;
}

/** Lines of at most `width` columns that break at spaces; a longer word has a line of its own. */
export function wrapWords(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A command of a shell on lines of at most `width` columns: a backslash ends each but the last, and quotes stay whole. */
export function wrapCommand(command: string, { width, indent }: { width: number; indent: string }): string[] {
  const words = command.match(/(?:'[^']*'|[^\s'])+/g) ?? [];
  const further = " ".repeat(indent.length + 2);
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined) lines.push(indent + word);
    else if (last.length + 1 + word.length + " \\".length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else {
      lines[lines.length - 1] = `${last} \\`;
      lines.push(further + word);
    }
  }
  return lines;
}

/** A word in double quotes, with control characters made visible. */
export function quote(word: string): string {
  return oneLine(JSON.stringify(word));
}

/** The text on one line: line breaks and other control characters are escaped, so that no peer can forge a log line. */
export function oneLine(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, (char) => {
    if (char === "\n") return "\\n";
    if (char === "\t") return "\\t";
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** The text with its line breaks but no other control characters, so that no peer can drive a terminal. */
export function printable(text: string): string {
  return text.split("\n").map(oneLine).join("\n");
}

/** Rows with their columns aligned, those in `right` to the right, two spaces between, and none at the end. */
export function alignRows(
  rows: readonly (readonly string[])[],
  { right = [] }: { right?: readonly number[] } = {},
): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  return rows.map((row) =>
    row.map((cell, i) => right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))
      .join("  ").trimEnd()
  );
}

/** The line, or its beginning and an ellipsis where it has more than `columns`; null: as many as it likes. */
export function cutLine(line: string, columns: number | null): string {
  return columns === null || line.length <= columns ? line : `${line.slice(0, columns - 1)}…`;
}

/** The candidate that `word` was most likely meant to be, or null if none is near. */
export function nearest(word: string, candidates: Iterable<string>): string | null {
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(last[j]! + 1, row[j - 1]! + 1, substituted);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j]!, beforeLast[j - 2]! + 1);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length]!;
}
