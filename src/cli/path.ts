import { Argument, type Command } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import type { Api, PathName, PathResult } from "../rpc/host_api.ts";
import { pathWords } from "../rpc/path_words.ts";
import type { Context, Declare } from "./commands.ts";
import { ask, tellOtherNetwork, unlessLeft } from "./daemon_calls.ts";
import { commandHelp } from "./help.ts";
import { untilInterrupted } from "./interruption.ts";
import { isPathWord, parsePathName, parsePathSpec } from "./path_spec.ts";
import { explainFaults } from "./usage_errors.ts";
import { volumeWord } from "./volume_words.ts";
import { completedBy } from "./word_sources.ts";

/** The daemon bounds each step itself; this only ends the wait for one that hangs. */
const PATH_MS_MAX = 120_000;
const SLOW_FACTOR = 5;

const PATH_VERBS: readonly string[] = ["add", "remove", "enable", "disable"];

const PATH_FORM = "A path is ADDR, ADDR:PORT (4420 by default), [IPv6]:PORT or " +
  "tcp://ADDR:PORT?host-traddr=ADDR&host-iface=IFNAME.";
const NAME_FORM = `${PATH_FORM} A path of the volume can also be named by its number in umpath show.`;
const DRAIN = "Requests in flight on the path are answered first; after two seconds they move to the other paths. " +
  "Without --force, the last path that serves the volume is kept.";

const HELP = commandHelp({
  notes: [NAME_FORM, "umpath path COMMAND --help says more about each command."],
  examples: [
    "umpath path add vol1-n1 198.51.100.1:4421",
    "umpath path disable vol1-n1 192.0.2.1",
    "umpath path enable vol1-n1 0",
    "umpath path remove vol1-n1 'tcp://192.0.2.1:4420?host-iface=eth1'",
  ],
});

/** `umpath path` */
export const declare: Declare = (command, context) => {
  command.description("Add, remove, enable or disable a path of a volume while it is attached.")
    .addHelpText("after", HELP);
  explainFaults(command, ({ kind, args }) => kind === "unknown-command" ? verbComesFirst(args) : null);
  verb(command, "add", "add a path", {
    isNew: true,
    notes: [PATH_FORM, "A path that cannot be reached is added with --force only: then umpath keeps retrying it."],
    examples: ["umpath path add vol1-n1 198.51.100.1:4421", "umpath path add vol1-n1 [2001:db8::1]"],
  }).option("--force", "even if the path cannot be reached yet")
    .action(async (volume, word, { force = false }) => {
      const params = { volume: volumeWord(volume), path: newPath(volume, word), force: force === true };
      await change("path-add", params, { context, result: "added" });
    });
  verb(command, "remove", "remove a path", {
    notes: [NAME_FORM, DRAIN],
    examples: ["umpath path remove vol1-n1 198.51.100.1:4421", "umpath path remove vol1-n1 1 --force"],
  }).option("--force", "even if no other path serves the volume")
    .action(async (volume, word, { force = false }) => {
      const params = { volume: volumeWord(volume), path: namedPath("remove", { volume, word }), force: force === true };
      await change("path-remove", params, { context, result: "removed" });
    });
  verb(command, "enable", "use a path again that was disabled or given up", {
    notes: [NAME_FORM, "If the path does not come up, a warning names the reason and umpath keeps retrying."],
    examples: ["umpath path enable vol1-n1 192.0.2.1"],
  }).action(async (volume, word) => {
    const params = { volume: volumeWord(volume), path: namedPath("enable", { volume, word }) };
    await change("path-enable", params, {
      context,
      result: "enabled",
    });
  });
  verb(command, "disable", "keep a path without using it", {
    notes: [NAME_FORM, DRAIN, "A disabled path stays in the volume without a connection until it is enabled."],
    examples: ["umpath path disable vol1-n1 192.0.2.1"],
  }).option("--force", "even if no other path serves the volume")
    .action(async (volume, word, { force = false }) => {
      const params = {
        volume: volumeWord(volume),
        path: namedPath("disable", { volume, word }),
        force: force === true,
      };
      await change("path-disable", params, { context, result: "disabled" });
    });
};

interface VerbHelp {
  notes: readonly string[];
  examples: readonly string[];
  /** The path is none of the volume yet. */
  isNew?: boolean;
}

function verb(command: Command, name: string, summary: string, { isNew = false, ...help }: VerbHelp) {
  const path = new Argument("<path>", isNew ? "address of the new path" : "address or number of the path");
  return command.command(name).summary(summary).description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`)
    .addArgument(
      completedBy(new Argument("<volume>", "name, device, mount point, UUID or NQN of the volume"), "volumes"),
    )
    .addArgument(completedBy(path, isNew ? "portals" : "volume-paths"))
    .addHelpText("after", commandHelp(help));
}

function verbComesFirst(args: readonly string[]): UmpathError | null {
  const at = args.findIndex((word) => PATH_VERBS.includes(word));
  if (at === -1) return null;
  const ordered = [args[at], ...args.filter((_, i) => i !== at)].join(" ");
  return new UmpathError("usage", `Cannot run umpath path ${quote(args[0]!)}: the command comes first`, {
    hint: `Write umpath path ${ordered}`,
  });
}

function newPath(volume: string, word: string) {
  checkOrder("add", { volume, word });
  return parsePathSpec(word);
}

function namedPath(verb: string, { volume, word }: { volume: string; word: string }): PathName {
  checkOrder(verb, { volume, word });
  return parsePathName(word);
}

function checkOrder(verb: string, { volume, word }: { volume: string; word: string }): void {
  if (!isPathWord(volume) || isPathWord(word) || /^\d{1,3}$/.test(word)) return;
  throw new UmpathError("usage", `Cannot use path ${quote(word)}: the volume comes before the path`, {
    hint: `Write umpath path ${verb} ${word} ${volume}`,
  });
}

type PathMethod = "path-add" | "path-remove" | "path-enable" | "path-disable";

/** What a verb waits for when it takes long. */
const WAITS: Readonly<Record<PathMethod, string>> = Object.freeze({
  "path-add": "the path to come up, at most its connect-timeout",
  "path-enable": "the path to come up, at most its connect-timeout",
  "path-remove": "the requests in flight on the path, at most 2s",
  "path-disable": "the requests in flight on the path, at most 2s",
});

/** What takes a change back that was done although it was to be called off. The others take no time. */
const UNDOING: Readonly<Partial<Record<PathMethod, "path-remove" | "path-disable">>> = {
  "path-add": "path-remove",
  "path-enable": "path-disable",
};

async function change<M extends PathMethod>(
  method: M,
  params: Api[M]["params"],
  { context: { output }, result: done }: { context: Context; result: string },
): Promise<void> {
  const onWarning = (message: string) => output.warn(message);
  const timeoutMs = Deno.env.get("UMPATH_SLOW") ? PATH_MS_MAX * SLOW_FACTOR : PATH_MS_MAX;
  if (method === "path-add") await tellOtherNetwork(onWarning);
  const run = async (cancel?: AbortSignal) => {
    const options = { timeoutMs, onWarning, ...cancel && { cancel } };
    return await unlessLeft(params.volume, output.waiting(WAITS[method], ask(method, params, options)));
  };
  const back = UNDOING[method];
  const undo = async ({ path, changed }: PathResult) => {
    if (changed) await ask(back!, { volume: params.volume, path: { id: path.id }, force: true }, { timeoutMs });
  };
  const what = `${method.replace("-", " ")} of ${params.volume}`;
  const { volume, path, changed } = back === undefined ? await run() : await untilInterrupted({ what, undo }, run);
  if (output.json) return output.object({ volume, path, changed });
  output.done(volume.name, `path ${pathWords(path)} ${done}`, { changed });
}
