/** From argv to exit code: runs the command and says its error in words, or in JSON with `--json`. */
import { UmpathError } from "../base/errors.ts";
import { setLogLevel } from "../base/log.ts";
import { printable } from "../base/text.ts";
import { Output, OutputClosed } from "./output.ts";
import { runProgram } from "./program.ts";

/** Commands that serve others, and have their own way with errors that nobody caught. */
const SERVERS: readonly string[] = ["daemon", "serve"];

const BUG_HINT = "Set UMPATH_DEBUG=1 to see where it is, and report it";

/** Commands that do more than print: a reader that leaves does not end them in order. */
const EFFECTS: readonly string[] = ["attach", "detach", "set", "path", "demo", ...SERVERS];

/** Runs the words of the command line and gives the exit code. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  const output = new Output({ json: asksForJson(args) });
  const word = args.find((word) => !word.startsWith("-")) ?? "";
  if (!SERVERS.includes(word)) endOnStrayErrors(output);
  const context = { output, exitCode: 0, setVerbose: () => setLogLevel("debug") };
  try {
    await runProgram(args, context);
    return context.exitCode;
  } catch (thrown) {
    return present(thrown, output, { hasEffects: EFFECTS.includes(word) });
  }
}

/**
 * Says on stderr what ended the command and gives its exit code. A reader of stdout that left is no failure, unless the
 * command does more than print.
 */
export function present(thrown: unknown, output: Output, { hasEffects = false } = {}): number {
  if (thrown instanceof OutputClosed && !hasEffects) return 0;
  const error = thrown instanceof OutputClosed ? readerLeft() : UmpathError.from(thrown);
  if (output.json) output.errorLine(JSON.stringify({ error: error.toWire() }));
  else {
    output.errorLine(`umpath: ${error.code === "bug" ? "a bug in umpath: " : ""}${printable(error.message)}`);
    const hint = error.hint ?? (error.code === "bug" ? BUG_HINT : undefined);
    if (hint !== undefined) output.errorLine(`hint: ${printable(hint)}`);
  }
  if (Deno.env.get("UMPATH_DEBUG") === "1") output.errorLine(stackOf(thrown));
  return error.exitCode;
}

function readerLeft(): UmpathError {
  return new UmpathError("host-lacks", "Cannot write the output: its reader has left");
}

function stackOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const cause = thrown.cause === undefined ? "" : `\nCaused by: ${stackOf(thrown.cause)}`;
  return `${thrown.stack ?? thrown.message}${cause}`;
}

/** True if `--json` stands before any `--`: known before the words are parsed, so that their errors are JSON too. */
function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end === -1 ? args : args.slice(0, end)).includes("--json");
}

/** What is no server ends at an error that nobody caught. */
function endOnStrayErrors(output: Output): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    Deno.exit(present(event.reason, output));
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    Deno.exit(present(event.error, output));
  });
}
