import { Interrupted } from "../demo/stage.ts";
import { StoryUnread } from "../demo/story.ts";
import { programCommand } from "../host/daemon/daemon_spawn.ts";
import type { Declare } from "./commands.ts";
import { commandHelp } from "./help.ts";
import { choiceOption } from "./option_words.ts";
import { type Output, OutputClosed } from "./output.ts";
import { volumeDetails } from "./volume_text.ts";

const DEVICES = ["auto", "ublk", "loop", "none"] as const;

/** What a shell tells of a command that a signal ended: 128 and the signal's number. */
const SIGNAL_EXIT_CODES: Partial<Record<Deno.Signal, number>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGPIPE: 141,
  SIGTERM: 143,
};

const HELP = commandHelp({
  notes: [
    "Starts a storage system in memory with two portals on loopback addresses, attaches its volume over both, makes a file " +
    "system, and takes one path away and gives it back while an application reads and writes. Every line is checked or " +
    "measured. The exit code is 0 only if every claim was true and nothing is left behind. It takes about 20 seconds.",
    "It has a daemon of its own and touches no volume of yours. Kernel devices and mounts need root; without, or with " +
    "--device none, the volume is driven in user space.",
  ],
  examples: ["umpath demo", "umpath demo --device loop", "umpath demo --json | jq .loss"],
});

/** `umpath demo` */
export const declare: Declare = (command, context) => {
  command
    .description("Run a live demonstration on this host, with a path failure in the middle.")
    .addOption(choiceOption("--device <driver>", "kind of the kernel device", DEVICES).default("auto" as const))
    .addHelpText("after", HELP)
    .action(async ({ device }) => {
      const { output } = context;
      const { runDemo } = await import("../demo/demo.ts");
      try {
        const report = await runDemo({
          device,
          program: programCommand([]),
          print: (line) => print(output, line),
          remark: (line) => output.note(line),
          warn: (message) => output.warn(message),
          colours: Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR"),
          describe: (volume) => volumeDetails(volume).join("\n"),
        });
        if (output.json) output.object({ ...report });
      } catch (error) {
        if (!(error instanceof Interrupted || error instanceof StoryUnread)) throw error;
        output.errorLine(`umpath: ${error.message}`);
        const signal = error instanceof Interrupted ? error.signal : "SIGPIPE";
        context.exitCode = SIGNAL_EXIT_CODES[signal] ?? 1;
      }
    });
};

function print(output: Output, line: string): void {
  if (output.json) return;
  try {
    output.line(line);
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
    throw new StoryUnread("The demo ended early: its reader has left", { cause: error });
  }
}
