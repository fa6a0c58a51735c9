import { Argument } from "@commander-js/extra-typings";
import { listWords } from "../base/text.ts";
import type { Declare } from "./commands.ts";
import { ask, DAEMON_WAIT, unlessLeft } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { volumeWord } from "./volume_words.ts";
import { completedBy } from "./word_sources.ts";

const HELP = commandHelp({
  notes: [
    "umpath follows the events of the controllers by itself. Use rescan when an event was lost, or to be sure. It reads " +
    "the size, the identity and the ANA state of the namespace again over every live path, and prints what has changed.",
  ],
  examples: ["umpath rescan", "umpath rescan vol1-n1"],
});

/** `umpath rescan` */
export const declare: Declare = (command, { output }) => {
  command
    .description("Read size, identity and ANA states of the namespaces again.")
    .addArgument(
      completedBy(
        new Argument("[volume...]", "name, device, mount point, UUID or NQN; all volumes without one"),
        "volumes",
      ),
    )
    .addHelpText("after", HELP)
    .action(async (given) => {
      const words = given.map((word) => volumeWord(word));
      const onWarning = (message: string) => output.warn(message);
      const asked = ask("rescan", { volumes: words, all: words.length === 0 }, { onWarning });
      const answer = output.waiting(DAEMON_WAIT, asked);
      const result = words.length > 0 ? await unlessLeft(words[0]!, answer) : await answer;
      const rescanned = result?.volumes ?? [];
      if (output.json) return output.object({ volumes: rescanned });
      if (rescanned.length === 0) output.note("Nothing is attached");
      for (const { volume, changes } of rescanned) {
        const isChanged = changes.length > 0;
        output.done(volume.name, isChanged ? listWords(changes) : "read again", { changed: isChanged });
      }
    });
};
