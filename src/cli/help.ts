/** The parts of the help that the argument parser cannot make up, and how wide all of it is. */
import { wrapCommand, wrapWords } from "../base/text.ts";
import type { AnyCommand } from "./usage_errors.ts";

/** Columns where no terminal says how many it has. */
export const HELP_WIDTH_DEFAULT = 80;
const WIDTH_MIN = 40;
/** Longer lines are hard to read. */
const WIDTH_MAX = 100;
/** A description beside its term has at least as many columns; else it stands below the term. */
const DESCRIPTION_WIDTH_MIN = 30;

/** Columns of the help, options and notes alike, on a terminal of that many; null: not a terminal. */
export function helpWidth(columns: number | null): number {
  return columns === null ? HELP_WIDTH_DEFAULT : Math.min(Math.max(columns, WIDTH_MIN), WIDTH_MAX);
}

/** The words behind `Usage: `, on lines that stand below each other. */
export function helpUsage(usage: string, width: number): string {
  const indent = "Usage: ".length;
  return wrapWords(usage, width - indent).join(`\n${" ".repeat(indent)}`);
}

/** A command, an option or a variable with its description beside it or, where that is too narrow, below. */
export function helpItem(
  term: string,
  description: string,
  { termWidth, width }: { termWidth: number; width: number },
): string {
  const column = termWidth + 4;
  const isBeside = width - column >= DESCRIPTION_WIDTH_MIN;
  const indent = isBeside ? column : 6;
  const lines = wrapWords(description, width - indent).map((line) => " ".repeat(indent) + line);
  if (description === "") return `  ${term}`;
  return isBeside ? `  ${term}`.padEnd(column) + lines.join("\n").trimStart() : [`  ${term}`, ...lines].join("\n");
}

const EXIT_CODES: readonly [number, string][] = [
  [0, "done"],
  [1, "a bug in umpath"],
  [2, "wrong usage"],
  [3, "no such volume, path or file"],
  [4, "unreachable"],
  [5, "refused by the storage system"],
  [6, "a host requirement is missing"],
  [7, "in use"],
  [8, "timed out"],
  [130, "interrupted with ^C"],
];

const VARIABLES: readonly [string, string][] = [
  ["UMPATH_RUN_DIR", "folder of the daemon's socket, lock and log (default: /run/umpath)"],
  ["UMPATH_LOG", "log level: error, warn, info or debug (default: info)"],
  ["UMPATH_DEBUG", "1: print errors with their causes and stacks"],
  ["UMPATH_SLOW", "1: wait five times longer for the daemon, as on an emulated processor"],
  ["NO_COLOR", "1: no colours in the demo"],
];

const PROGRAM_EXAMPLES = [
  "umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1 -p 198.51.100.1",
  "umpath show vol1-n1",
  "umpath detach vol1-n1",
];

/** Below the help of the program. */
export function programHelp(command: object): string {
  const width = widthOf(command);
  return [
    ...section("Examples:", PROGRAM_EXAMPLES.flatMap((line) => wrapCommand(line, { width, indent: "  $ " }))),
    ...section("Environment:", VARIABLES.map(([name, words]) => helpItem(name, words, { termWidth: 14, width }))),
    ...exitCodes(width),
  ].join("\n");
}

/** Words of a small language that an argument is written in. */
export interface HelpTable {
  title: string;
  rows: readonly (readonly [term: string, description: string])[];
}

/** Below the help of a command: notes, a paragraph each, tables and examples. */
export function commandHelp(
  { notes = [], tables = [], examples }: {
    examples: readonly string[];
    notes?: readonly string[];
    tables?: readonly HelpTable[];
  },
): (context: { command: object }) => string {
  return ({ command }) => {
    const width = widthOf(command);
    return [
      ...notes.flatMap((note) => ["", ...note.split("\n").flatMap((line) => wrapWords(line, width))]),
      ...tables.flatMap(({ title, rows }) => {
        const termWidth = Math.max(...rows.map(([term]) => term.length));
        return section(title, rows.map(([term, description]) => helpItem(term, description, { termWidth, width })));
      }),
      ...section("Examples:", examples.flatMap((line) => wrapCommand(line, { width, indent: "  $ " }))),
      ...exitCodes(width),
    ].join("\n");
  };
}

/** The description of an option with what holds if it is not given, as the argument parser writes it. */
export function withDefault(description: string, words: string): string {
  return `${description} (default: ${words})`;
}

function section(title: string, lines: readonly string[]): string[] {
  return ["", title, ...lines];
}

/** Two columns where there is room. */
function exitCodes(width: number): string[] {
  const lines = EXIT_CODES.map(([code, words]) => `${`${code}`.padStart(3)}  ${words}`);
  const half = Math.ceil(lines.length / 2);
  const left = Math.max(...lines.slice(0, half).map((line) => line.length)) + 2;
  const isWide = left + Math.max(...lines.slice(half).map((line) => line.length)) <= width;
  const rows = isWide ? lines.slice(0, half).map((line, i) => line.padEnd(left) + (lines[half + i] ?? "")) : lines;
  return [...section("Exit codes:", rows.map((row) => row.trimEnd())), ""];
}

function widthOf(command: object): number {
  return (command as AnyCommand).configureOutput().getOutHelpWidth?.() ?? HELP_WIDTH_DEFAULT;
}
