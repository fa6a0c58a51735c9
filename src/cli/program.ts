/** Our wrapper of the argument parser: commands loaded on demand, and its errors in our words. */
import { Command, CommanderError, type Option } from "@commander-js/extra-typings";
import { type CommandEntry, COMMANDS, type Context, findCommand } from "./commands.ts";
import { HELP_WIDTH_DEFAULT, helpItem, helpUsage, helpWidth, programHelp } from "./help.ts";
import {
  type AnyCommand,
  isOption,
  noCommand,
  optionsOf,
  unknownCommand,
  unknownOption,
  usageError,
  usageLine,
  valueMissing,
} from "./usage_errors.ts";

/** What the program and its commands work with. */
export interface ProgramContext extends Context {
  /** Called for `--verbose`. */
  setVerbose(): void;
}

/** Runs one command. Throws an `UmpathError` for whatever is wrong with the words. */
export async function runProgram(args: readonly string[], context: ProgramContext): Promise<void> {
  const help: string[] = [];
  const program = buildProgram(context, (text) => help.push(text));
  const entry = chosenEntry(args);
  if (entry !== null) await declareCommand(program, entry, context);
  const words = await checkedWords(program, args, context);
  try {
    await program.parseAsync(words, { from: "user" });
  } catch (thrown) {
    // Help ends like this, too.
    if (!(thrown instanceof CommanderError && thrown.exitCode === 0)) throw thrown;
    if (context.output.json) context.output.object({ help: help.join("") });
    else context.output.text(help.join(""));
  }
}

/** The parser, which throws our errors at every level. */
class ProgramCommand extends Command {
  override createCommand(name?: string): Command {
    return new ProgramCommand(name) as unknown as Command;
  }

  override error(message: string, options: { code?: string } = {}): never {
    throw usageError(this as unknown as AnyCommand, { code: options.code ?? "", message });
  }

  override help(context?: unknown): never {
    const isError = typeof context === "object" && context !== null && "error" in context && context.error === true;
    if (isError) throw noCommand(this as unknown as AnyCommand);
    return super.help();
  }
}

/** The program with every command by name and summary only. The parser gives its help in pieces. */
export function buildProgram(context: ProgramContext, writeHelp: (text: string) => void = () => {}): Command {
  const { output } = context;
  const program = new ProgramCommand("umpath")
    .description("NVMe/TCP volumes over several paths, as block devices of this host.")
    .usage("<command> [options]")
    .option("--json", "print results and errors as JSON")
    .option("-v, --verbose", "log what is being done on stderr, here and in the daemon")
    .option("--version", "print the version")
    .helpOption("-h, --help", "show how to use the program or a command")
    .helpCommand("help [command...]", "show how to use the program or a command")
    .configureHelp({
      showGlobalOptions: true,
      visibleGlobalOptions: globalOptionsOf,
      commandUsage: (command) => usageLine(command),
      styleUsage(this: { helpWidth?: number }, usage: string) {
        return helpUsage(usage, this.helpWidth ?? HELP_WIDTH_DEFAULT);
      },
      formatItem: (term, termWidth, description, helper) =>
        helpItem(term, description, { termWidth, width: helper.helpWidth ?? HELP_WIDTH_DEFAULT }),
    })
    .configureOutput({
      writeOut: writeHelp,
      writeErr: () => {},
      getOutHelpWidth: () => helpWidth(output.columns),
    })
    .addHelpText("after", ({ command }) => programHelp(command))
    .exitOverride();
  program.hook("preAction", () => {
    if (program.opts().verbose) context.setVerbose();
  });
  for (const { name, summary, hidden } of COMMANDS) program.command(name, { hidden: hidden ?? false }).summary(summary);
  return program as unknown as Command;
}

/** Gives the command of `entry` its arguments, options and action. */
export async function declareCommand(program: Command, entry: CommandEntry, context: Context): Promise<Command> {
  const { declare } = await entry.load();
  const command = program.commands.find((candidate) => candidate.name() === entry.name)! as Command;
  declare(command, context);
  hideHelpCommands(command as unknown as AnyCommand);
  return command;
}

/** `help` stands in the help of the program only, though every level takes it. */
function hideHelpCommands(command: AnyCommand): void {
  command.helpCommand(false);
  command.commands.forEach(hideHelpCommands);
}

/** The deepest command that `words` name, and which of them are its arguments. */
export interface FoundCommand {
  command: AnyCommand;
  /** Words that are neither options nor names of commands, in their order. */
  operands: string[];
  /** Options that were written before the name of the command that they are not of. */
  misplaced: string[];
  /** An option whose value is another option of the command, or null. */
  valueless: string | null;
  /** An option at the end that takes a value, or null. */
  open: Option | null;
}

/** Reads words as the parser does, without judging them. */
export function findDeepest(program: AnyCommand, words: readonly string[]): FoundCommand {
  const found: FoundCommand = { command: program, operands: [], misplaced: [], valueless: null, open: null };
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === "--") {
      found.operands.push(...words.slice(i + 1));
      break;
    }
    const options = optionsOf(found.command);
    if (word.startsWith("-") && word !== "-") {
      const option = options.find((candidate) => isOption(candidate, word));
      if (option === undefined && found.operands.length === 0) found.misplaced.push(word);
      if (!option?.required) continue;
      const value = words[++i];
      if (value === undefined) found.open = option;
      if (value !== undefined && options.some((other) => isOption(other, value))) found.valueless ??= option.flags;
      continue;
    }
    const verb = found.operands.length === 0 && found.command.commands.find((one) => one.name() === word);
    if (verb) [found.command, found.misplaced] = [verb, []];
    else found.operands.push(word);
  }
  return found;
}

/**
 * The words for the parser: `help path add` as `path add --help`, and `--version` as the command.
 *
 * @throws UmpathError for a command that is not there, and for an option that has another one as its value.
 */
async function checkedWords(program: Command, args: readonly string[], context: Context): Promise<string[]> {
  const root = program as unknown as AnyCommand;
  const isVersion = chosenWord(args) === undefined && args.includes("--version");
  const given = isVersion ? args.map((word) => word === "--version" ? "version" : word) : [...args];
  if (isVersion) await declareCommand(program, findCommand("version")!, context);
  const help = helpAt(root, given);
  const words = help === -1 ? given : [...given.slice(0, help), ...given.slice(help + 1), "--help"];
  const { command, operands, misplaced, valueless } = findDeepest(root, words);
  const first = firstUnknown(root, words);
  if (first !== null) throw unknownOption(root, first);
  if (command.commands.length > 0 && operands.length > 0) {
    const option = misplaced.find((word) => !["-h", "--help"].includes(word));
    if (option !== undefined) throw unknownOption(command, option);
    const elsewhere = await commandsNamed(operands[0]!, context);
    throw unknownCommand(command, { word: operands[0]!, args: operands, elsewhere });
  }
  if (valueless !== null && !words.includes("--help")) throw valueMissing(valueless);
  return words;
}

/** Where `help` stands in the place of a command's name, or -1. */
export function helpAt(root: AnyCommand, words: readonly string[]): number {
  let command = root;
  for (const [i, word] of words.entries()) {
    if (word.startsWith("-")) continue;
    if (word === "help" && command.commands.length > 0) return i;
    const verb = command.commands.find((one) => one.name() === word);
    if (verb === undefined) return -1;
    command = verb;
  }
  return -1;
}

/** The first option before the name of the command that is none of the program. */
function firstUnknown(program: AnyCommand, words: readonly string[]): string | null {
  for (const word of words) {
    if (!word.startsWith("-") || word === "--") return null;
    const isKnown = [...program.options.flatMap((option) => [option.short, option.long]), "-h", "--help"].includes(
      word,
    );
    if (!isKnown) return word;
  }
  return null;
}

/** `umpath path add` and others, for `add`. */
async function commandsNamed(word: string, context: Context): Promise<string[]> {
  const program = buildProgram({ ...context, setVerbose: () => {} });
  for (const entry of COMMANDS) await declareCommand(program, entry, context);
  const named = (command: AnyCommand, words: string): string[] =>
    command.commands.flatMap((verb) => [
      ...(verb.name() === word ? [`${words} ${word}`] : []),
      ...named(verb, `${words} ${verb.name()}`),
    ]);
  return named(program as unknown as AnyCommand, "umpath");
}

function globalOptionsOf(command: Parameters<ReturnType<Command["createHelp"]>["visibleGlobalOptions"]>[0]) {
  let root = command;
  while (root.parent !== null) root = root.parent;
  return root === command ? [] : root.options.filter((option) => option.long !== "--version");
}

/** The first word that is no option, or the second after `help`: global options take no values. */
function chosenWord(args: readonly string[]): string | undefined {
  const words = args.filter((arg) => !arg.startsWith("-"));
  return words[0] === "help" ? words[1] : words[0];
}

function chosenEntry(args: readonly string[]): CommandEntry | null {
  return findCommand(chosenWord(args) ?? "") ?? null;
}
