import { UmpathError } from "../base/errors.ts";
import { listWords } from "../base/text.ts";
import type { DetachParams } from "../host/api.ts";
import type { Context, Declare } from "./commands.ts";
import { ask, awaitDaemonEnd, notAttached } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";

/** Flushing and stopping many devices takes its time. */
const DETACH_MS_MAX = 120_000;

const HELP = commandHelp({
  notes: [
    "A volume whose device is mounted or open is not detached, unless --force is given: then its users get errors.",
  ],
  examples: ["umpath detach vol1-n1", "umpath detach /dev/ublkb0 /dev/ublkb1", "umpath detach --all"],
});

/** `umpath detach` */
export const declare: Declare = (command, context) => {
  command
    .description("Take volumes off this host: their devices and connections go.")
    .argument("[volume...]", "names, devices or UUIDs")
    .option("--all", "every volume")
    .option("--force", "even if the device is in use")
    .addHelpText("after", HELP)
    .action(async (volumes, { all = false, force = false }) => {
      if (all && volumes.length > 0) {
        throw new UmpathError("usage", `Cannot detach ${listWords(volumes)}: --all is given too`, {
          hint: "Name volumes or use --all",
        });
      }
      if (!all && volumes.length === 0) {
        throw new UmpathError("usage", "Cannot detach: no volume is named", { hint: "Name volumes or use --all" });
      }
      await detach({ volumes: [...volumes], all: all === true, force: force === true }, context);
    });
};

async function detach(params: DetachParams, { output }: Context): Promise<void> {
  const onWarning = (message: string) => output.warn(message);
  const daemon = await ask("info", {});
  const result = await ask("detach", params, { timeoutMs: DETACH_MS_MAX, onWarning });
  if (result === null && !params.all) notAttached(params.volumes[0]!);
  if (daemon !== null) await awaitDaemonEnd(daemon);
  const detached = result?.detached ?? [];
  if (output.json) output.object({ detached });
  else output.note(detached.length === 0 ? "Nothing is attached" : `Detached ${listWords(detached)}`);
}
