/** The parts of the help that the argument parser cannot make up, and how wide all of it is. */
import { wrapWords } from "../base/text.ts";

const WIDTH_DEFAULT = 80;
const WIDTH_MIN = 40;
/** Longer lines are hard to read. */
const WIDTH_MAX = 100;

/** Columns of the help, options and notes alike. */
export function helpWidth(): number {
  if (!Deno.stdout.isTerminal()) return WIDTH_DEFAULT;
  const columns = Deno.consoleSize().columns || WIDTH_DEFAULT;
  return Math.min(Math.max(columns, WIDTH_MIN), WIDTH_MAX);
}

const EXIT_CODE_LINES = `
Exit codes:
  0  done                         5  refused by the storage system
  1  a bug in umpath              6  this host lacks something
  2  wrong usage                  7  in use
  3  no such volume or path       8  timed out
  4  unreachable`;

/** Below the help of the program. */
export const PROGRAM_HELP = `
Examples:
  $ umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1 -p 198.51.100.1
  /dev/ublkb0
  $ umpath show vol1-n1
  $ umpath detach vol1-n1

Environment:
  UMPATH_RUN_DIR  folder of the socket, lock and log of the daemon (/run/umpath)
  UMPATH_LOG      error, warn, info or debug: how much is logged (info)
  UMPATH_DEBUG    1: errors come with their causes and stacks
${EXIT_CODE_LINES}
`;

/** Below the help of a command: notes, a paragraph each, and lines of examples. */
export function commandHelp(options: { examples: readonly string[]; notes?: readonly string[] }): () => string {
  return () => {
    const paragraphs = (options.notes ?? []).map((note) => `\n${wrapWords(note, helpWidth()).join("\n")}\n`);
    const examples = options.examples.map((line) => `  $ ${line}`).join("\n");
    return `${paragraphs.join("")}\nExamples:\n${examples}\n${EXIT_CODE_LINES}\n`;
  };
}

/** The description of an option with what holds if it is not given, as the argument parser writes it. */
export function withDefault(description: string, words: string): string {
  return `${description} (default: ${words})`;
}
