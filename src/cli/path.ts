import type { Command } from "@commander-js/extra-typings";
import { quote } from "../base/text.ts";
import type { Api } from "../host/api.ts";
import type { Context, Declare } from "./commands.ts";
import { ask, notAttached } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { parsePathName, parsePathSpec } from "./path_spec.ts";

/** The daemon bounds each step itself; this only ends the wait for one that hangs. */
const PATH_MS_MAX = 120_000;
const SLOW_FACTOR = 5;

/** The verbs, for completion. */
export const PATH_VERBS = Object.freeze(["add", "remove", "enable", "disable"] as const);

const HELP = commandHelp({
  notes: [
    "A path is ADDR, ADDR:PORT, [IPv6]:PORT or the tcp:// form, as in umpath attach; one that is there already may be " +
    "named by its number in umpath show, too. A path that is added or enabled and does not come up is named on stderr " +
    "and keeps being tried, unless the target refuses it.",
    "What is in flight on a path that is removed or disabled is answered first; after two seconds it moves to the " +
    "others. The only path that serves a volume is not taken away without --force. A disabled path stays in the " +
    "volume, and is neither used nor connected.",
  ],
  examples: [
    "umpath path add vol1-n1 198.51.100.1:4421",
    "umpath path disable vol1-n1 192.0.2.1",
    "umpath path enable vol1-n1 0",
    "umpath path remove vol1-n1 'tcp://192.0.2.1:4420?host-iface=eth1'",
  ],
});

/** `umpath path` */
export const declare: Declare = (command, context) => {
  command.description("Add, remove, enable or disable a path of a volume while it runs.").addHelpText("after", HELP);
  verb(command, "add", "add a path").action(async (volume, word) => {
    const params = { volume, path: parsePathSpec(word) };
    await change("path-add", params, { context, done: `Added path ${quote(word)} to` });
  });
  verb(command, "remove", "take a path away").option("--force", "even if no other path serves the volume")
    .action(async (volume, word, { force = false }) => {
      const params = { volume, path: parsePathName(word), force: force === true };
      await change("path-remove", params, { context, done: `Removed path ${quote(word)} of` });
    });
  verb(command, "enable", "use a path again that was disabled or given up").action(async (volume, word) => {
    const params = { volume, path: parsePathName(word) };
    await change("path-enable", params, { context, done: `Enabled path ${quote(word)} of` });
  });
  verb(command, "disable", "keep a path, but do not use it").option("--force", "even if no other one serves the volume")
    .action(async (volume, word, { force = false }) => {
      const params = { volume, path: parsePathName(word), force: force === true };
      await change("path-disable", params, { context, done: `Disabled path ${quote(word)} of` });
    });
};

function verb<const N extends (typeof PATH_VERBS)[number]>(command: Command, name: N, summary: string) {
  return command.command(name).summary(summary).description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`)
    .argument("<volume>", "its name, device or UUID")
    .argument("<path>", "the path");
}

type PathMethod = "path-add" | "path-remove" | "path-enable" | "path-disable";

async function change<M extends PathMethod>(
  method: M,
  params: Api[M]["params"],
  { context: { output }, done }: { context: Context; done: string },
): Promise<void> {
  const onWarning = (message: string) => output.warn(message);
  const timeoutMs = Deno.env.get("UMPATH_SLOW") ? PATH_MS_MAX * SLOW_FACTOR : PATH_MS_MAX;
  const result = await ask(method, params, { timeoutMs, onWarning }) ?? notAttached(params.volume);
  if (output.json) output.object({ volume: result.volume });
  else output.note(`${done} ${result.volume.name}`);
}
