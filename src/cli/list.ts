import { Argument } from "@commander-js/extra-typings";
import type { VolumeInfo } from "../host/api.ts";
import { matchesVolume } from "../host/volume_match.ts";
import type { Declare } from "./commands.ts";
import { DAEMON_WAIT, listed, notAttached } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { volumeLines } from "./volume_text.ts";
import { completedBy } from "./word_sources.ts";

const HELP = commandHelp({
  notes: [
    "The columns are name, device, size, state, paths that serve I/O of all paths, policy, NQN, namespace, and remarks " +
    "such as read-only. On a terminal, a header is printed and lines are shortened to its width.",
  ],
  examples: [
    "umpath list",
    "umpath list nqn.2026-11.com.example:vol1",
    "umpath list --json | jq -r '.volumes[].device'",
  ],
});

/** `umpath list` */
export const declare: Declare = (command, { output }) => {
  command
    .description("List the volumes, one on each line.")
    .addArgument(
      completedBy(new Argument("[volume...]", "only volumes with this name, device, UUID or NQN"), "volumes"),
    )
    .addHelpText("after", HELP)
    .action(async (words) => {
      const all = await output.waiting(DAEMON_WAIT, listed(output));
      const volumes = chosen(all.volumes, words);
      const attaching = words.length === 0 ? all.attaching : [];
      if (output.json) output.object({ volumes, attaching });
      else if (volumes.length + attaching.length === 0) output.note("Nothing is attached");
      else volumeLines([...volumes, ...attaching], output.columns).forEach((line) => output.line(line));
    });
};

function chosen(volumes: readonly VolumeInfo[], words: readonly string[]): readonly VolumeInfo[] {
  const isMeant = (volume: VolumeInfo, word: string) => volume.nqn === word || matchesVolume(volume, word);
  const missing = words.find((word) => !volumes.some((volume) => isMeant(volume, word)));
  if (missing !== undefined) notAttached(missing);
  return words.length === 0 ? volumes : volumes.filter((volume) => words.some((word) => isMeant(volume, word)));
}
