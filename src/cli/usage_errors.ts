/** What is wrong with the words of a command line, said of the deepest command that was recognised. */
import type { CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { listWords, nearest, quote } from "../base/text.ts";

/** A command of any arguments and options. */
export type AnyCommand = CommandUnknownOpts;

/** Arguments that do not fit a command. */
export interface ArgumentFault {
  kind: "missing" | "too-many" | "unknown-command";
  /** Every argument that was given to the command. */
  args: readonly string[];
}

/** Says what the user meant by arguments that do not fit, or gives null where the general words say it. */
export type Explain = (fault: ArgumentFault) => UmpathError | null;

const explanations = new WeakMap<object, Explain>();

/** Lets a command answer a mistake that is made often, such as two words in the wrong order, by what was meant. */
export function explainFaults(command: object, explain: Explain): void {
  explanations.set(command, explain);
}

/** `umpath path add`. */
export function commandWords(command: AnyCommand): string {
  return command.parent === null ? command.name() : `${commandWords(command.parent)} ${command.name()}`;
}

/** `umpath path add <volume> <path> [options]`. */
export function usageLine(command: AnyCommand): string {
  const usage = command.usage();
  // The parser makes up "[options] …"; what a command says itself is kept.
  if (!usage.startsWith("[options]")) return `${commandWords(command)} ${usage}`;
  const words = command.registeredArguments.map((argument) => {
    const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  const verb = command.commands.length > 0 ? ["<command>"] : [];
  return [commandWords(command), ...verb, ...words, "[options]"].join(" ");
}

/** The error of the parser in our words. */
export function usageError(command: AnyCommand, { code, message }: { code: string; message: string }): UmpathError {
  const word = /'([^']*)'/.exec(message)?.[1] ?? "";
  switch (code) {
    case "commander.unknownOption":
      return unknownOption(command, word);
    case "commander.missingArgument":
      return explained(command, "missing") ??
        refuse(command, `<${word}> is missing`, `The usage is: ${usageLine(command)}. ${helpHint(command)}`);
    case "commander.optionMissingArgument":
      return valueMissing(word);
    case "commander.excessArguments":
      return explained(command, "too-many") ?? tooMany(command);
    default:
      return refuse(command, message.replace(/^error: /, ""), helpHint(command));
  }
}

/** A command with verbs got none. */
export function noCommand(command: AnyCommand): UmpathError {
  const names = command.commands.filter(isVisible).map((verb) => verb.name());
  return command.parent === null
    ? refuse(command, "no command is given", "umpath --help lists the commands")
    : refuse(command, "no command is given", `The commands are ${listWords(names)}; ${helpHint(command)}`);
}

/** `word` stands where a verb of `command` must. `elsewhere`: commands of that name that stand at another place. */
export function unknownCommand(
  command: AnyCommand,
  { word, args, elsewhere = [] }: { word: string; args: readonly string[]; elsewhere?: readonly string[] },
): UmpathError {
  const where = commandWords(command);
  const near = nearest(word, command.commands.filter(isVisible).map((verb) => verb.name()));
  const meant = near !== null ? [`${where} ${near}`] : elsewhere;
  const list = command.parent === null
    ? "umpath --help lists the commands"
    : `The commands are ${listWords(command.commands.filter(isVisible).map((verb) => verb.name()))}`;
  return explanations.get(command)?.({ kind: "unknown-command", args }) ??
    new UmpathError("usage", `Cannot run ${where} ${quote(word)}: ${where} has no such command`, {
      hint: meant.length === 0 ? list : `Did you mean ${listWords(meant, "or")}? ${list}`,
    });
}

/** `command` has no option of that name, or one that takes no value. */
export function unknownOption(command: AnyCommand, word: string): UmpathError {
  const [name, value] = word.split(/=(.*)/s);
  const where = commandWords(command);
  if (value !== undefined && optionsOf(command).some((option) => isOption(option, name!))) {
    return new UmpathError("usage", `Cannot use option ${quote(word)}: ${name} takes no value`, {
      hint: `Write ${name} alone`,
    });
  }
  if (command.commands.some((one) => one.options.some((option) => isOption(option, name!)))) {
    return new UmpathError("usage", `Cannot use option ${quote(word)}: it stands before the command`, {
      hint: `Write it behind the command: ${where} COMMAND ${name}`,
    });
  }
  const names = optionsOf(command).filter((option) => !option.hidden).flatMap((option) => option.long ?? []);
  const near = nearest(name!, [...names, "--help"]);
  return new UmpathError("usage", `Cannot use option ${quote(word)}: ${where} has no such option`, {
    hint: near === null ? helpHint(command) : `Did you mean ${near}? ${helpHint(command)}`,
  });
}

/** An option that takes a value has none: `--nsid <number>` says which. */
export function valueMissing(flags: string): UmpathError {
  const name = flags.split(" <")[0]!.split(", ").at(-1)!;
  const value = /<.*/.exec(flags)?.[0] ?? "<value>";
  return new UmpathError("usage", `Cannot use option ${quote(name)}: its value is missing`, {
    hint: `Write ${name} ${value}`,
  });
}

/** The options that may stand behind `command`: its own and those of every command above. */
export function optionsOf(command: AnyCommand): Option[] {
  return [...command.options, ...(command.parent === null ? [] : optionsOf(command.parent))];
}

/** True if `word` names the option, without a value. */
export function isOption(option: Option, word: string): boolean {
  return word === option.long || word === option.short;
}

function explained(command: AnyCommand, kind: ArgumentFault["kind"]): UmpathError | null {
  return explanations.get(command)?.({ kind, args: command.args }) ?? null;
}

function tooMany(command: AnyCommand): UmpathError {
  const taken = command.registeredArguments.map((argument) => `<${argument.name()}>`);
  const first = command.args[taken.length]!;
  const what = taken.length === 0 ? "no arguments" : `one ${listWords(taken, "and one")}`;
  return new UmpathError("usage", `Cannot run ${commandWords(command)} with ${quote(first)}: it takes ${what}`, {
    hint: `The usage is: ${usageLine(command)}`,
  });
}

function refuse(command: AnyCommand, why: string, hint: string): UmpathError {
  return new UmpathError("usage", `Cannot run ${commandWords(command)}: ${why}`, { hint });
}

function helpHint(command: AnyCommand): string {
  return `${commandWords(command)} --help says how it is used`;
}

/** True for a command that the help shows. */
export function isVisible(command: AnyCommand): boolean {
  return !(command as unknown as { _hidden?: boolean })._hidden;
}
