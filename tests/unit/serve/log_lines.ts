import { setLogSink } from "../../../src/base/log.ts";

/** Takes what is logged for as long as it is there: level and words, without the time. */
export class LogLines implements Disposable {
  readonly lines: string[] = [];

  constructor() {
    setLogSink((line) => void this.lines.push(line.trimEnd().replace(/^(\S+Z |<\d>)/, "")));
  }

  /** The lines so far, which are forgotten. */
  take(): string[] {
    return this.lines.splice(0);
  }

  [Symbol.dispose](): void {
    setLogSink(null);
  }
}
