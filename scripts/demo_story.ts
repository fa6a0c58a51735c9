/** What the demo tells: each event with the time since the start, commands as a person types them, facts that were checked. */

const INDENT = " ".repeat(9);
const STEP_CHARS = 22;

/** Prints the demo, line by line. */
export class Story {
  readonly #startMs = performance.now();

  /** Something happens now. */
  event(text: string): void {
    const seconds = ((performance.now() - this.#startMs) / 1000).toFixed(1);
    console.log(`${seconds.padStart(5)} s  ${text}`);
  }

  /** More about the last event, on lines of its own. */
  detail(text: string): void {
    for (const line of text.trimEnd().split("\n")) console.log(`${INDENT}${line}`.trimEnd());
  }

  /** A step of the road under its name, for example "404 identify". */
  step(name: string, text: string): void {
    this.detail(`${name.padEnd(STEP_CHARS)}  ${text}`);
  }

  /** An empty line before the next chapter. */
  pause(): void {
    console.log("");
  }
}

/** A claim of the demo that is not true. */
export class Untrue extends Error {
  override name = "Untrue";
}

/** Ends the demo unless `claim` is true; `otherwise` says what is the case instead. */
export function demand(claim: boolean, otherwise: string): asserts claim {
  if (!claim) throw new Untrue(otherwise);
}

/** A size for people. */
export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 100 * 2 ** 20 ? 1 : 0)} MiB`;
}

/** A duration for people: milliseconds below a second, else seconds. */
export function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
