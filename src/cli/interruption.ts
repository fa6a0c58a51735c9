/** ^C of a command that has asked the daemon for something: it is called off and undone before the command ends. */
import { UmpathError } from "../base/errors.ts";

const SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM"];

/** How a command is interrupted. */
export interface Interruptible<T> {
  /** What is called off, in words: `attach of NQN`. */
  what: string;
  /** Undoes what was done although it was to be called off: it was done already. */
  undo(result: T): Promise<void>;
}

/**
 * Runs `work` until it is done or the user interrupts it. A second signal does not wait for what is being undone.
 *
 * @throws UmpathError "interrupted"
 */
export async function untilInterrupted<T>(
  { what, undo }: Interruptible<T>,
  work: (cancel: AbortSignal) => Promise<T>,
): Promise<T> {
  const cancel = new AbortController();
  const interrupt = () => {
    if (cancel.signal.aborted) Deno.exit(calledOff(what).exitCode);
    cancel.abort();
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, interrupt);
  try {
    const result = await work(cancel.signal);
    if (!cancel.signal.aborted) return result;
    await undo(result);
  } catch (error) {
    if (!cancel.signal.aborted || !isExpected(error)) throw error;
  } finally {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, interrupt);
  }
  throw calledOff(what);
}

/** What fails while it is called off may fail because it is. */
function isExpected(error: unknown): boolean {
  return error instanceof UmpathError && error.code !== "bug";
}

function calledOff(what: string): UmpathError {
  return new UmpathError("interrupted", `Called off: ${what}`);
}
