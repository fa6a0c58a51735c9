import { Argument } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { listWords } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import type { DetachParams, DetachResult } from "../rpc/host_api.ts";
import type { LeftDevice, Removal } from "../host/device/left_devices.ts";
import { checkRunDir, runDir, RunDirLock } from "../rpc/run_dir.ts";
import { volumeMeant } from "../rpc/volume_match.ts";
import type { Context, Declare } from "./commands.ts";
import { ask, attachedVolumes, awaitDaemonEnd, DAEMON_WAIT } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import type { Output } from "./output.ts";
import { volumeWord } from "./volume_words.ts";
import { completedBy } from "./word_sources.ts";

/** Flushing and stopping many devices takes its time. */
const DETACH_MS_MAX = 120_000;
/** A process that was killed takes so long at most until the kernel has closed what it had open. */
const LOCK_MS_MAX = 5_000;
const LOCK_POLL_MS = 20;

const HELP = commandHelp({
  notes: [
    "A volume whose device is mounted or open is not detached. With --force it is, and its users get I/O errors.",
    "Devices that a crashed daemon left behind are removed as well.",
  ],
  examples: ["umpath detach vol1-n1", "umpath detach /dev/ublkb0 /dev/ublkb1", "umpath detach --all"],
});

/** `umpath detach` */
export const declare: Declare = (command, context) => {
  command
    .description("Detach volumes: remove their devices and close their connections.")
    .usage("<volume>... [options]")
    .addArgument(
      completedBy(
        new Argument("[volume...]", "name, device, mount point, UUID or NQN of a volume"),
        "volumes-and-left",
      ),
    )
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
      await detach(
        { volumes: volumes.map((word) => volumeWord(word)), all: all === true, force: force === true },
        context,
      );
    });
};

async function detach(params: DetachParams, { output }: Context): Promise<void> {
  const daemon = await output.waiting(DAEMON_WAIT, ask("info", {}));
  const { detached, calledOff = [], leaving = false } = await askDetach(params, output) ??
    await detachLeft(params, output);
  if (daemon !== null && leaving) await awaitDaemonEnd(daemon.pid);
  if (output.json) return output.object({ detached, calledOff });
  if (detached.length === 0) output.note("Nothing is attached");
  for (const name of detached) output.done(name, calledOff.includes(name) ? "attach called off" : "detached");
}

function askDetach(params: DetachParams, output: Output): Promise<DetachResult | null> {
  const asked = ask("detach", params, { timeoutMs: DETACH_MS_MAX, onWarning: (message) => output.warn(message) });
  const what = params.all ? "all volumes" : listWords(params.volumes);
  const waited = output.waiting(`${what} to be flushed and detached, at most ${formatDuration(DETACH_MS_MAX)}`, asked);
  return params.all ? output.following(progressOfAll(), waited) : waited;
}

/** Says how many of the volumes are gone that were there at first. */
function progressOfAll(): () => Promise<string> {
  let total: number | null = null;
  return async () => {
    const left = (await attachedVolumes()).length;
    total ??= left;
    return `${total - left} of ${total} detached`;
  };
}

/** Without a daemon: what one that died has left is taken away. */
async function detachLeft(params: DetachParams, output: Output): Promise<DetachResult> {
  const { leftDevices, matchesLeft, removeLeft, sweepLeft } = await import("../host/device/left_devices.ts");
  const dir = runDir();
  for (const deadline = Date.now() + LOCK_MS_MAX;;) {
    const all = checkRunDir(dir) ? await leftDevices(dir) : [];
    const missing = params.volumes.find((word) => !all.some((left) => matchesLeft(left, word)));
    if (missing !== undefined) volumeMeant([], missing);
    if (all.length === 0) {
      await sweepLeft(dir);
      return { detached: [] };
    }
    // The lock is what tells that they are left: a daemon may be about to start, or one that was killed not be all gone.
    using lock = Date.now() < deadline ? RunDirLock.tryTake(dir) : RunDirLock.take(dir);
    if (lock !== null) {
      const isMeant = (left: LeftDevice) => params.all || params.volumes.some((word) => matchesLeft(left, word));
      const chosen = (await leftDevices(dir)).filter(isMeant);
      return told(await removeLeft(chosen, { lock, force: params.force }), output);
    }
    const result = await askDetach(params, output);
    if (result !== null) return result;
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
  }
}

function told({ removed, words, failures }: Removal, output: Output): DetachResult {
  for (const message of words) output.warn(message);
  for (const { message } of failures.slice(1)) output.warn(message);
  if (failures.length > 0) throw failures[0];
  return { detached: removed };
}
