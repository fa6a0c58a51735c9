/** Lines that a trace keeps: the last seconds before a failure. */
const LINES_MAX = 100;

/** What has happened in a simulation, line by line. Only made for a seed that is looked at: it costs time. */
export class Trace {
  readonly #lines: string[] = [];
  readonly #nowMs: () => number;
  readonly #print: ((line: string) => void) | null;

  /** With `print` each line is printed at once, and none is kept. */
  constructor(nowMs: () => number, print: ((line: string) => void) | null = null) {
    this.#nowMs = nowMs;
    this.#print = print;
  }

  /** Lines are printed at once: there may be many of them. */
  get isPrinted(): boolean {
    return this.#print !== null;
  }

  add(words: string): void {
    const line = `${this.#nowMs().toFixed(3).padStart(12)} ms  ${words}`;
    if (this.#print !== null) return this.#print(line);
    this.#lines.push(line);
    if (this.#lines.length > 2 * LINES_MAX) this.#lines.splice(0, LINES_MAX);
  }

  /** The last lines. */
  get lines(): string[] {
    return this.#lines.slice(-LINES_MAX);
  }
}
