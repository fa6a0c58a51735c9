/** What the demo tells: each event with the time since the start, commands as a person types them, facts that were checked. */
import { wrapWords } from "../base/text.ts";

const COLUMNS = 100;
const INDENT = " ".repeat(9);
const STEP_CHARS = 21;

/** How words look on a terminal. */
const Look = { PLAIN: "", BOLD: "\x1b[1m", DIM: "\x1b[2m", GREEN: "\x1b[32m", RED: "\x1b[31m" } as const;
const LOOK_END = "\x1b[0m";

/** Where the lines go, and what they may look like. */
export interface StoryOptions {
  print(line: string): void;
  /** Colours, for a terminal only. */
  colours: boolean;
}

/** A step of the road as it was told. */
export interface ToldStep {
  /** Its number in ARCHITECTURE.md, for example 404. */
  step: number;
  name: string;
  /** What was found. */
  facts: string;
}

/** Prints the demo, line by line; no line is longer than 100 columns. */
export class Story {
  readonly #options: StoryOptions;
  readonly #startMs = performance.now();
  readonly #steps: ToldStep[] = [];

  constructor(options: StoryOptions) {
    this.#options = options;
  }

  /** Seconds since the start. */
  get seconds(): number {
    return (performance.now() - this.#startMs) / 1000;
  }

  /** The steps that were told so far. */
  get steps(): readonly ToldStep[] {
    return this.#steps;
  }

  /** Something happens now. */
  event(text: string): void {
    this.#timed(text, Look.PLAIN);
  }

  /** A command as it is typed. */
  command(words: string): void {
    this.#timed(`$ ${words}`, Look.BOLD);
  }

  /** What did not go as it should. */
  failure(text: string): void {
    this.#timed(text, Look.RED);
  }

  #timed(text: string, look: string): void {
    const [first = "", ...rest] = wrap(text);
    const time = `${this.seconds.toFixed(1).padStart(5)} s  `;
    this.#options.print(this.#styled(time, Look.DIM) + this.#styled(first, look));
    for (const line of rest) this.#options.print(INDENT + this.#styled(line, look));
  }

  /** More about the last event, on lines of its own. */
  detail(text: string): void {
    for (const line of text.trimEnd().split("\n")) {
      for (const part of wrap(line)) this.#options.print(`${INDENT}${part}`.trimEnd());
    }
  }

  /** A step of the road under its number and name, for example 404 and "identify". */
  step(step: number, name: string, facts: string): void {
    this.#steps.push({ step, name, facts });
    const label = `${step} ${name}`.padEnd(STEP_CHARS);
    const [first = "", ...rest] = wrapWords(facts, COLUMNS - INDENT.length - STEP_CHARS - 2);
    this.#options.print(`${INDENT}${this.#styled(label, Look.GREEN)}  ${first}`);
    for (const line of rest) this.#options.print(`${INDENT}${" ".repeat(STEP_CHARS)}  ${line}`);
  }

  /** An empty line before the next chapter. */
  pause(): void {
    this.#options.print("");
  }

  #styled(text: string, look: string): string {
    return this.#options.colours && look !== Look.PLAIN ? `${look}${text}${LOOK_END}` : text;
  }
}

/** The lines of one line: those after the first are indented as it is, and a little more. */
function wrap(line: string): string[] {
  const width = COLUMNS - INDENT.length;
  if (line.length <= width) return [line];
  const indent = /^ */.exec(line)![0];
  const [first = "", ...rest] = wrapWords(line.trimStart(), width - indent.length - 2);
  return [indent + first, ...rest.map((part) => `${indent}  ${part}`)];
}

/** A size for people, in MiB. */
export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 100 * 2 ** 20 ? 1 : 0)} MiB`;
}

/** A duration for people: milliseconds below a second, else seconds. */
export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
