/** What the demo tells: each event with the time since the start, commands as a person types them, facts that were checked. */
import { wrapWords } from "../base/text.ts";

const COLUMNS = 100;
const INDENT = " ".repeat(9);
const STEP_CHARS = 17;

/** How words look on a terminal. */
const Look = { PLAIN: "", BOLD: "\x1b[1m", DIM: "\x1b[2m", GREEN: "\x1b[32m", RED: "\x1b[31m" } as const;
const LOOK_END = "\x1b[0m";

/** Where the lines go, and what they may look like. */
export interface StoryOptions {
  /** Throws {@linkcode StoryUnread} if nobody reads any more. */
  print(line: string): void;
  /** Colours, for a terminal only. */
  colours: boolean;
}

/** The reader of the story has left. The demo ends early: nobody sees what it shows. */
export class StoryUnread extends Error {
  override name = "StoryUnread";
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

  /** Something happens now, or has happened at `atSeconds` after the start. */
  event(text: string, atSeconds = this.seconds): void {
    this.#timed(text, { look: Look.PLAIN, atSeconds });
  }

  /** A command as it is typed, now or at `atSeconds` after the start. */
  command(words: string, atSeconds = this.seconds): void {
    this.#timed(`$ ${words}`, { look: Look.BOLD, atSeconds });
  }

  /** What did not go as it should. */
  failure(text: string): void {
    this.#timed(text, { look: Look.RED, atSeconds: this.seconds });
  }

  #timed(text: string, { look, atSeconds }: { look: string; atSeconds: number }): void {
    const [first = "", ...rest] = wrap(text);
    const time = `${atSeconds.toFixed(1).padStart(5)} s  `;
    this.#options.print(this.#styled(time, Look.DIM) + this.#styled(first, look));
    for (const line of rest) this.#options.print(INDENT + this.#styled(line, look));
  }

  /** More about the last event, on lines of its own. */
  detail(text: string): void {
    for (const line of text.trimEnd().split("\n")) {
      for (const part of wrap(line)) this.#options.print(`${INDENT}${part}`.trimEnd());
    }
  }

  /** A step of the road under its name; its number in ARCHITECTURE.md is told in JSON only. */
  step(step: number, name: string, facts: string): void {
    this.#steps.push({ step, name, facts });
    const label = name.padEnd(STEP_CHARS);
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

/** A label in the first column, with its value behind at least two blanks. */
const LABEL = /^ *\S+ {2,}(?=\S)/;

/** The lines of one line: those after the first begin under its value if it has a label, else a little to the right. */
function wrap(line: string): string[] {
  const width = COLUMNS - INDENT.length;
  if (line.length <= width) return [line];
  const head = LABEL.exec(line)?.[0] ?? /^ */.exec(line)![0];
  const hang = " ".repeat(LABEL.test(line) ? head.length : head.length + 2);
  const [first = "", ...rest] = wrapWords(line.slice(head.length), width - hang.length);
  return [head + first, ...rest.map((part) => hang + part)];
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
