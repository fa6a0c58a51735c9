import type { Declare } from "./commands.ts";
import { attachedVolumes, findVolume } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { volumeDetails } from "./volume_text.ts";

const EXAMPLES = ["umpath show", "umpath show vol1-n1", "umpath show /dev/ublkb0 --json"];

/** `umpath show` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Show a volume, or all of them, with its paths, their states and counters.")
    .argument("[volume]", "its name, device or UUID")
    .addHelpText("after", commandHelp({ examples: EXAMPLES }))
    .action(async (word) => {
      const attached = await attachedVolumes();
      const volumes = word === undefined ? attached : [findVolume(attached, word)];
      if (output.json) output.object({ volumes });
      else if (volumes.length === 0) output.note("Nothing is attached");
      else output.line(volumes.map((volume) => volumeDetails(volume).join("\n")).join("\n\n"));
    });
};
