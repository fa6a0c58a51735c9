import { Argument } from "@commander-js/extra-typings";
import { VERSION } from "../base/version.ts";
import { count, wrapWords } from "../base/text.ts";
import type { DaemonInfo, ListResult } from "../rpc/host_api.ts";
import { volumeMeant } from "../rpc/volume_match.ts";
import type { Declare } from "./commands.ts";
import { ask, DAEMON_WAIT, listed } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { leftDetails, volumeDetails } from "./volume_text.ts";
import { volumeWord } from "./volume_words.ts";
import { completedBy } from "./word_sources.ts";

const HELP = commandHelp({
  notes: ["Settings are named as in umpath set. Without a volume, all volumes and the daemon are shown."],
  examples: ["umpath show", "umpath show vol1-n1", "umpath show /dev/ublkb0 --json"],
});

/** `umpath show` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Show a volume, or all of them, with its paths, their states and counters.")
    .addArgument(
      completedBy(new Argument("[volume]", "name, device, mount point, UUID or NQN of the volume"), "volumes-and-left"),
    )
    .addHelpText("after", HELP)
    .action(async (word) => {
      const { volumes, left } = chosen(await output.waiting(DAEMON_WAIT, listed(output)), word);
      const daemon = word === undefined ? await ask("info", {}) : null;
      if (output.json) return output.object({ volumes, left, ...word === undefined ? { daemon } : {} });
      if (volumes.length + left.length === 0) output.note("Nothing is attached");
      const { columns } = output;
      const texts = [...volumes.map((volume) => volumeDetails(volume, columns)), ...left.map(leftDetails)];
      if (daemon !== null) texts.push(wrapWords(daemonWords(daemon), columns ?? Infinity));
      if (texts.length > 0) output.line(texts.map((lines) => lines.join("\n")).join("\n\n"));
    });
};

/** What the word means: a volume, or what is left of one; everything without a word. */
function chosen({ volumes, left }: Required<ListResult>, word: string | undefined) {
  if (word === undefined) return { volumes, left };
  const meant = volumeMeant([...volumes, ...left.map((one) => ({ ...one, uuid: "" }))], volumeWord(word));
  return {
    volumes: volumes.filter((one) => one === meant),
    left: left.filter(({ device }) => device === meant.device),
  };
}

function daemonWords({ pid, version, workers, startedAt, logFile }: DaemonInfo): string {
  const other = version === VERSION ? "" : ` (this program is ${VERSION})`;
  const log = logFile === null ? "its standard error" : logFile;
  return `daemon: process ${pid} since ${startedAt}, umpath ${version}${other}, ` +
    `${count(workers, "data-plane thread")}, log in ${log}`;
}
