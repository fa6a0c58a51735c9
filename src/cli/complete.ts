import type { Command } from "@commander-js/extra-typings";
import { oneLine } from "../base/text.ts";
import { type CommandEntry, COMMANDS, type Context, type Declare, findCommand } from "./commands.ts";
import { SHELLS } from "./completion_scripts.ts";
import type { VolumeInfo } from "../host/api.ts";
import { FAILBACK_VALUES, POLICY_NAMES } from "../host/defaults.ts";
import { HEDGE_EXAMPLES, SLOW_PATH_MODES } from "../host/latency_settings.ts";
import { pathWords } from "../host/path_words.ts";
import { matchesVolume } from "../host/volume_match.ts";
import { attachedVolumes } from "./daemon_calls.ts";
import { PATH_VERBS } from "./path.ts";
import { TIMEOUT_OPTIONS } from "./timeout_options.ts";

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

/** What the last word of `line` can become. */
export async function candidates(line: string, at: { program: Command; context: Context }): Promise<Candidate[]> {
  const words = line.trimStart().split(/\s+/).slice(1);
  const last = words.pop() ?? "";
  const entry = findCommand(words.find((word) => !word.startsWith("-")) ?? "");
  const possible = entry === undefined ? commandCandidates() : await argumentCandidates(entry, { words, last }, at);
  return possible.filter(({ word }) => word.startsWith(last));
}

function commandCandidates(): Candidate[] {
  return COMMANDS.filter((entry) => !entry.hidden).map(({ name, summary }) => ({ word: name, description: summary }));
}

async function argumentCandidates(
  entry: CommandEntry,
  { words, last }: { words: readonly string[]; last: string },
  { program, context }: { program: Command; context: Context },
): Promise<Candidate[]> {
  const command = program.commands.find((candidate) => candidate.name() === entry.name)! as Command;
  (await entry.load()).declare(command, context);
  const assigned = /^(--[^=]+)=/.exec(last)?.[1];
  const option = command.options.find(({ long, short }) => {
    const word = assigned ?? words.at(-1);
    return word !== undefined && (long === word || short === word);
  });
  if (option?.required) {
    const prefix = assigned === undefined ? "" : `${assigned}=`;
    return (option.argChoices ?? []).map((choice) => ({ word: prefix + choice, description: option.description }));
  }
  if (last.startsWith("-")) return optionCandidates(program, command);
  const given = words.slice(words.indexOf(entry.name) + 1).filter((word) => !word.startsWith("-"));
  return await positionalCandidates(entry, given);
}

function optionCandidates(program: Command, command: Command): Candidate[] {
  const options = [...command.options, ...program.options.filter((option) => option.long !== "--version")];
  return options.filter((option) => !option.hidden && option.long !== undefined)
    .map((option) => ({ word: option.long!, description: option.description }))
    .concat({ word: "--help", description: "say how to use the command" });
}

/** What the next argument can be, after those that are given. */
async function positionalCandidates({ arguments: kinds = [] }: CommandEntry, given: string[]): Promise<Candidate[]> {
  switch (kinds[Math.min(given.length, kinds.length - 1)]) {
    case "shells":
      return plain(SHELLS);
    case "path-verbs":
      return plain(PATH_VERBS);
    case "volumes":
      return (await volumes()).map(({ name, device, state }) => ({
        word: name,
        description: `${device ?? "no device"}, ${state}`,
      }));
    case "paths":
      return given[0] === "add" ? [] : pathCandidates(await volumeOf(given[1]));
    case "settings":
      return settingCandidates(await volumeOf(given[0]));
    default:
      return [];
  }
}

function plain(words: readonly string[]): Candidate[] {
  return words.map((word) => ({ word, description: "" }));
}

async function volumes(): Promise<VolumeInfo[]> {
  return await attachedVolumes().catch(() => []);
}

async function volumeOf(word = ""): Promise<VolumeInfo | undefined> {
  return (await volumes()).find((volume) => matchesVolume(volume, word));
}

function pathCandidates(volume: VolumeInfo | undefined): Candidate[] {
  return volume?.paths.map((path) => ({ word: pathWords(path), description: path.state })) ?? [];
}

function settingCandidates(volume: VolumeInfo | undefined): Candidate[] {
  const paths = pathCandidates(volume);
  return [
    ...plain(POLICY_NAMES.map((name) => `policy=${name}`)),
    ...plain(FAILBACK_VALUES.map((name) => `failback=${name}`)),
    ...paths.map(({ word, description }) => ({ word: `preferred-path=${word}`, description })),
    ...paths.map(({ word, description }) => ({ word: `weight.${word}=`, description })),
    ...plain(SLOW_PATH_MODES.map((mode) => `slow-path=${mode}`)),
    ...plain(HEDGE_EXAMPLES.map((budget) => `hedge-reads=${budget}`)),
    ...TIMEOUT_OPTIONS.map(({ name, description }) => ({ word: `${name.slice(2)}=`, description })),
  ];
}
