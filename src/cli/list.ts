import { Argument } from "@commander-js/extra-typings";
import type { ListResult } from "../rpc/host_api.ts";
import { volumeMeant, volumesMeant } from "../rpc/volume_match.ts";
import type { Declare } from "./commands.ts";
import { DAEMON_WAIT, listed } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { volumeLines } from "./volume_text.ts";
import { volumeWord } from "./volume_words.ts";
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
      completedBy(
        new Argument("[volume...]", "only these: name, device, mount point, UUID or NQN"),
        "volumes-and-left",
      ),
    )
    .addHelpText("after", HELP)
    .action(async (words) => {
      const all = await output.waiting(DAEMON_WAIT, listed(output));
      const { volumes, attaching, left } = chosen(all, words.map((word) => volumeWord(word)));
      if (output.json) return output.object({ volumes, attaching, left });
      if (volumes.length + attaching.length + left.length === 0) output.note("Nothing is attached");
      volumeLines([...volumes, ...attaching, ...left], output.columns).forEach((line) => output.line(line));
      for (const { words, remedy } of left) output.note(`${words}; ${remedy}`);
    });
};

/** What the words mean; everything without a word. */
function chosen({ volumes, attaching, left }: Required<ListResult>, words: readonly string[]): Required<ListResult> {
  if (words.length === 0) return { volumes, attaching, left };
  const all = [
    ...volumes,
    ...attaching.map((one) => ({ ...one, device: null, uuid: "" })),
    ...left.map((one) => ({ ...one, uuid: "" })),
  ];
  const meant = words.map((word) => volumesMeant(all, word));
  const missing = meant.findIndex((found) => found.length === 0);
  if (missing !== -1) volumeMeant(all, words[missing]!);
  const names = new Set(meant.flat().map(({ name }) => name));
  const isMeant = ({ name }: { name: string }) => names.has(name);
  return { volumes: volumes.filter(isMeant), attaching: attaching.filter(isMeant), left: left.filter(isMeant) };
}
