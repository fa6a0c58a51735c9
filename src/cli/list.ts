import type { Declare } from "./commands.ts";
import { attachedVolumes } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { volumeLines } from "./volume_text.ts";

/** `umpath list` */
export const declare: Declare = (command, { output }) => {
  command
    .description("List the volumes, one a line: name, device, size, state, live paths of all paths, policy, NQN.")
    .addHelpText("after", commandHelp({ examples: ["umpath list", "umpath list --json | jq -r '.volumes[].device'"] }))
    .action(async () => {
      const volumes = await attachedVolumes();
      if (output.json) output.object({ volumes });
      else if (volumes.length === 0) output.note("Nothing is attached");
      else volumeLines(volumes).forEach((line) => output.line(line));
    });
};
