import type { Argument, Command, Option } from "@commander-js/extra-typings";
import { oneLine } from "../base/text.ts";
import { COMMANDS, type Context, type Declare, findCommand } from "./commands.ts";
import { completeSource, FILES } from "./completion_sources.ts";
import { declareCommand, findDeepest, helpAt } from "./program.ts";
import { type AnyCommand, isOption, isVisible, optionsOf } from "./usage_errors.ts";
import { sourceOf } from "./word_sources.ts";

/** A word that the line may go on with. */
export interface Candidate {
  word: string;
  description: string;
}

/** `umpath complete`, which the completion scripts ask. */
export const declare: Declare = (command, context) => {
  command
    .description("List what a line can go on with, for the scripts of umpath completion.")
    .argument("<line>", "the line up to the cursor, umpath included")
    .action(async (line) => {
      for (const { word, description } of await candidates(line, { program: command.parent as Command, context })) {
        context.output.line(`${word}\t${oneLine(description)}`);
      }
    });
};

/**
 * What the last word of `line` can become, by what the parser knows: commands, options, choices, and the sources of
 * arguments. Nothing where the shell's own completion of file names applies.
 */
export async function candidates(line: string, at: { program: Command; context: Context }): Promise<Candidate[]> {
  const words = line.trimStart().split(/\s+/).slice(1);
  const last = words.pop() ?? "";
  const possible = await possibleAfter(words, { last, ...at });
  return possible.filter(({ word }) => word === FILES || word.startsWith(last));
}

async function possibleAfter(
  words: readonly string[],
  { last, program, context }: { last: string; program: Command; context: Context },
): Promise<Candidate[]> {
  const root = program as unknown as AnyCommand;
  const name = words.find((word) => !word.startsWith("-") && word !== "help");
  const entry = findCommand(name ?? "");
  if (entry !== undefined && entry.name !== "complete") await declareCommand(program, entry, context);
  const help = helpAt(root, words);
  const given = help === -1 ? words : words.toSpliced(help, 1);
  const { command, operands, open } = findDeepest(root, given);
  const isFree = given.includes("--");
  const assigned = isFree ? null : /^(--[^=]+)=/.exec(last)?.[1] ?? null;
  const option = assigned === null ? open : optionsOf(command).find((one) => isOption(one, assigned)) ?? null;
  if (option?.required) {
    const prefix = assigned === null ? "" : `${assigned}=`;
    const values = await valuesOf(option, { operands, given, last: last.slice(prefix.length) });
    return values.map(({ word, description }) => ({ word: word === FILES ? word : prefix + word, description }));
  }
  if (last.startsWith("-") && !isFree) return optionCandidates(command, given);
  if (command.commands.length > 0) return operands.length > 0 ? [] : commandCandidates(command, help !== -1);
  if (help !== -1) return [];
  const expected = command.registeredArguments;
  const argument = expected[Math.min(operands.length, expected.length - 1)];
  if (argument === undefined || (operands.length >= expected.length && !argument.variadic)) return [];
  return await valuesOf(argument, { operands, given, last });
}

function commandCandidates(command: AnyCommand, isHelp: boolean): Candidate[] {
  const isRoot = command.parent === null;
  const names = isRoot ? COMMANDS.filter(({ hidden }) => !hidden).map(({ name }) => name) : null;
  return command.commands.filter((verb) => isVisible(verb) && (names === null || names.includes(verb.name())))
    .map((verb) => ({ word: verb.name(), description: verb.summary() }))
    .concat(isRoot && !isHelp ? [{ word: "help", description: "show how to use a command" }] : []);
}

/** The options of the command and of the program; those that are given already, and may be given once, are left out. */
function optionCandidates(command: AnyCommand, given: readonly string[]): Candidate[] {
  const isRoot = command.parent === null;
  return optionsOf(command)
    .filter(({ hidden, long }) => !hidden && long != null && (isRoot || long !== "--version"))
    .filter((option) => isRepeatable(option) || !given.some((word) => isOption(option, word.split("=")[0]!)))
    .map((option) => ({ word: option.long!, description: option.description }))
    .concat({ word: "--help", description: "show how to use the command" });
}

/** Options with a value may be repeatable; the parser does not know. */
function isRepeatable(option: Option): boolean {
  return option.required;
}

async function valuesOf(
  word: Argument | Option,
  at: { operands: readonly string[]; given: readonly string[]; last: string },
): Promise<Candidate[]> {
  const choices = word.argChoices;
  if (choices !== undefined) return choices.map((choice) => ({ word: choice, description: word.description }));
  const source = sourceOf(word);
  if (source === null) return [];
  const found = typeof source === "string"
    ? await completeSource(source, at)
    : source.map((value) => ({ word: value, description: word.description }));
  return found.filter((candidate) => !at.operands.includes(candidate.word));
}
