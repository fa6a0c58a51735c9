/** Our wrapper of the argument parser: commands loaded on demand, and its errors in our words. */
import { Command, CommanderError } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { nearest, quote } from "../base/text.ts";
import { VERSION } from "../base/version.ts";
import { type CommandEntry, COMMANDS, type Context, findCommand } from "./commands.ts";
import { helpWidth, PROGRAM_HELP } from "./help.ts";

/** What the program and its commands work with. */
export interface ProgramContext extends Context {
  /** Called for `--verbose`. */
  setVerbose(): void;
}

/** Runs one command. Throws an {@linkcode UmpathError} for whatever is wrong with the words. */
export async function runProgram(args: readonly string[], context: ProgramContext): Promise<void> {
  const chosen = chosenCommand(args);
  if (chosen.word !== null && chosen.entry === null) throw unknownCommand(chosen.word);
  const program = buildProgram(context);
  if (chosen.entry) await declareCommand(program, chosen.entry, context);
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    if (thrown.exitCode !== 0) throw translate(thrown, { program, entry: chosen.entry });
  }
}

/** The program with every command by name and summary only. */
export function buildProgram(context: ProgramContext): Command {
  const program = new Command("umpath")
    .description("NVMe/TCP volumes over several paths, as block devices of this host.")
    .usage("<command> [options]")
    .option("--json", "print results and errors as JSON")
    .option("-v, --verbose", "log what is being done on stderr")
    .version(`umpath ${VERSION}`, "--version", "print the version")
    .helpOption("-h, --help", "say how to use the program or a command")
    .helpCommand("help [command]", "say how to use the program or a command")
    .configureHelp({ showGlobalOptions: true, visibleGlobalOptions: globalOptionsOf })
    .configureOutput({
      writeOut: (text) => context.output.text(text),
      writeErr: () => {},
      getOutHelpWidth: helpWidth,
    })
    .addHelpText("after", PROGRAM_HELP)
    .exitOverride();
  program.hook("preAction", () => {
    if (program.opts().verbose) context.setVerbose();
  });
  for (const { name, summary, hidden } of COMMANDS) program.command(name, { hidden: hidden ?? false }).summary(summary);
  return program as unknown as Command;
}

/** Gives the command of `entry` its arguments, options and action. */
export async function declareCommand(
  program: Command,
  entry: CommandEntry,
  context: Context,
): Promise<Command> {
  const { declare } = await entry.load();
  const command = program.commands.find((candidate) => candidate.name() === entry.name)! as Command;
  declare(command, context);
  return command;
}

function globalOptionsOf(command: Parameters<ReturnType<Command["createHelp"]>["visibleGlobalOptions"]>[0]) {
  const program = command.parent?.parent ?? command.parent;
  return program?.options.filter((option) => option.long !== "--version") ?? [];
}

/** The first word that is no option, or the second after `help`. Global options take no values, so this is the command. */
function chosenCommand(args: readonly string[]): { word: string | null; entry: CommandEntry | null } {
  const words = args.filter((arg) => !arg.startsWith("-"));
  const word = (words[0] === "help" ? words[1] : words[0]) ?? null;
  return { word, entry: word === null ? null : findCommand(word) ?? null };
}

function unknownCommand(word: string): UmpathError {
  const near = nearest(word, COMMANDS.filter((entry) => !entry.hidden).map((entry) => entry.name));
  return new UmpathError("usage", `Cannot run command ${quote(word)}: there is none of that name`, {
    hint: near === null ? "umpath --help lists the commands" : `Did you mean ${quote(near)}? umpath --help lists them`,
  });
}

function translate(error: CommanderError, at: { program: Command; entry: CommandEntry | null }): UmpathError {
  const where = at.entry === null ? "umpath" : `umpath ${at.entry.name}`;
  const hint = `${where} --help says how it is used`;
  const word = /'([^']*)'/.exec(error.message)?.[1] ?? "";
  switch (error.code) {
    case "commander.help":
      return new UmpathError("usage", `Cannot run ${where}: no command is given`, { hint });
    case "commander.unknownOption": {
      const near = nearest(word, optionWords(at.program, at.entry));
      return new UmpathError("usage", `Cannot use option ${quote(word)}: ${where} has no such option`, {
        hint: near === null ? hint : `Did you mean ${near}? ${hint}`,
      });
    }
    case "commander.missingArgument":
      return new UmpathError("usage", `Cannot run ${where}: <${word}> is missing`, { hint });
    case "commander.optionMissingArgument":
      return new UmpathError("usage", `Cannot use option ${quote(word.split(" <")[0]!)}: its value is missing`, {
        hint,
      });
    case "commander.excessArguments": {
      const extra = /but got \d+: (.*)\.$/s.exec(error.message)?.[1] ?? "";
      return new UmpathError("usage", `Cannot run ${where} with ${quote(extra)}: too many arguments`, { hint });
    }
    case "commander.unknownCommand":
      return new UmpathError("usage", `Cannot run ${where} ${quote(word)}: there is none of that name`, { hint });
    default:
      return new UmpathError("usage", `Cannot run ${where}: ${error.message.replace(/^error: /, "")}`, { hint });
  }
}

function optionWords(program: Command, entry: CommandEntry | null): string[] {
  const command = program.commands.find((candidate) => candidate.name() === entry?.name);
  return [...program.options, ...(command?.options ?? [])].flatMap((option) => option.long ?? []).concat("--help");
}
