import { Argument } from "@commander-js/extra-typings";
import { VERSION } from "../base/version.ts";
import { count, wrapWords } from "../base/text.ts";
import type { DaemonInfo } from "../host/api.ts";
import type { Declare } from "./commands.ts";
import { ask, attachedVolumes, DAEMON_WAIT, findVolume } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { volumeDetails } from "./volume_text.ts";
import { completedBy } from "./word_sources.ts";

const HELP = commandHelp({
  notes: ["Settings are named as in umpath set. Without a volume, all volumes and the daemon are shown."],
  examples: ["umpath show", "umpath show vol1-n1", "umpath show /dev/ublkb0 --json"],
});

/** `umpath show` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Show a volume, or all of them, with its paths, their states and counters.")
    .addArgument(completedBy(new Argument("[volume]", "name, device or UUID of the volume"), "volumes"))
    .addHelpText("after", HELP)
    .action(async (word) => {
      const attached = await output.waiting(DAEMON_WAIT, attachedVolumes());
      const volumes = word === undefined ? attached : [findVolume(attached, word)];
      const daemon = word === undefined ? await ask("info", {}) : null;
      if (output.json) return output.object({ volumes, ...word === undefined ? { daemon } : {} });
      if (volumes.length === 0) output.note("Nothing is attached");
      const { columns } = output;
      const texts = volumes.map((volume) => volumeDetails(volume, columns));
      if (daemon !== null) texts.push(wrapWords(daemonWords(daemon), columns ?? Infinity));
      if (texts.length > 0) output.line(texts.map((lines) => lines.join("\n")).join("\n\n"));
    });
};

function daemonWords({ pid, version, workers, startedAt, logFile }: DaemonInfo): string {
  const other = version === VERSION ? "" : ` (this program is ${VERSION})`;
  const log = logFile === null ? "its standard error" : logFile;
  return `daemon: process ${pid} since ${startedAt}, umpath ${version}${other}, ` +
    `${count(workers, "data-plane thread")}, log in ${log}`;
}
