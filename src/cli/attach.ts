import { UmpathError } from "../base/errors.ts";
import { PATHS_MAX, QUEUE_DEPTH_DEFAULT, WORKERS_DEFAULT_MAX } from "../base/limits.ts";
import { quote } from "../base/text.ts";
import { type AttachParams, type AttachResult, DEVICE_CHOICES, type PathSpec } from "../host/api.ts";
import { FAILBACK_DEFAULT, FAILBACK_NAMES, POLICY_DEFAULT, POLICY_NAMES } from "../host/defaults.ts";
import {
  formatHedge,
  HEDGE_DEFAULT,
  parseHedge,
  SLOW_PATH_DEFAULT,
  SLOW_PATH_MODES,
} from "../host/latency_settings.ts";
import { type HostIdentity, hostIdentity } from "../host/host_identity.ts";
import { DEPTH_RANGE, NSID_RANGE, QUEUES_RANGE } from "../host/ranges.ts";
import { ensureRunDir } from "../host/run_dir.ts";
import { attachAll, discoverPaths, hostEndsOf, type OfferedNamespace } from "./attach_discovered.ts";
import type { Declare } from "./commands.ts";
import { askOrStart } from "./daemon_calls.ts";
import { askerOf, identityOf, parseDiscoveryPortal } from "./discovery_calls.ts";
import { commandHelp, withDefault } from "./help.ts";
import { nqnRemark, parseSubsystemNqn } from "./nqn.ts";
import { choiceOption, parseVolumeName, wholeNumber } from "./option_words.ts";
import { type GivenOptions, ignoredWords } from "./ignored_options.ts";
import type { Output } from "./output.ts";
import { pathWords } from "../host/path_words.ts";
import { parseHostIface, parseHostTraddr, parsePathSpec } from "./path_spec.ts";
import { chosenTimeouts, timeoutOptions } from "./timeout_options.ts";

/** The daemon bounds each step itself; this only ends the wait for one that hangs. */
const ATTACH_MS_MAX = 120_000;
const ATTACH_SLOW_FACTOR = 5;

const HELP = commandHelp({
  notes: [
    "Prints the device, and only it, once the device takes I/O. One live path is enough: those that are not live are " +
    "named on stderr and keep being tried, but for those that the target refuses. Attaching a volume again adds the " +
    "paths that are missing and prints the same device; its other options stay as they are.",
    "A path is ADDR, ADDR:PORT (4420 unless given), [IPv6]:PORT or " +
    "tcp://ADDR:PORT?host-traddr=ADDR&host-iface=IFNAME. A duration is 250ms, 5s, 2m or 1h.",
    "With --discover, every portal that the discovery service names for the subsystem is a path, from every " +
    "--host-traddr and through every --host-iface; the service is at port 8009 unless given. With --all, every " +
    "active namespace of every subsystem on offer (or of the one named) is attached, each device is printed on a line " +
    "of its own, what fails is named on stderr, and the exit code is that of the worst failure.",
  ],
  examples: [
    "umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1 -p 198.51.100.1",
    "umpath attach nqn.2026-11.com.example:vol1 -p 'tcp://[2001:db8::1]:4420?host-iface=eth1' --nsid 2",
    "umpath attach nqn.2026-11.com.example:vol1 --discover 192.0.2.1 --host-iface eth1 --host-iface eth2",
    "umpath attach --discover 192.0.2.1 --all",
    "mount $(umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1) /mnt",
  ],
});

/** `umpath attach` */
export const declare: Declare = (command, context) => {
  const attachCommand = command
    .description("Make a volume a block device of this host, over all the paths given.")
    .argument("[nqn]", "NQN of the subsystem that has the volume", parseSubsystemNqn)
    .option("-p, --path <path>", "a path to it; one -p for each path", addPath)
    .option("--discover <portal>", "take paths from the discovery service there, too", parseDiscoveryPortal)
    .option("--all", "with --discover: every namespace that is on offer")
    .option("--host-traddr <address>", "reach discovered portals from there; one for each", addHostTraddr)
    .option("--host-iface <name>", "reach discovered portals through it; one for each", addHostIface)
    .option("--nsid <number>", "namespace in the subsystem", wholeNumber("--nsid", NSID_RANGE), 1)
    .option("--name <name>", withDefault("name of the volume", "made from the NQN"), parseVolumeName)
    .addOption(choiceOption("--policy <policy>", "how a path is picked", POLICY_NAMES).default(POLICY_DEFAULT))
    .addOption(
      choiceOption("--slow-path <what>", "what is done about a path much slower than its peers", SLOW_PATH_MODES)
        .default(SLOW_PATH_DEFAULT),
    )
    .addOption(
      choiceOption("--failback <when>", "when I/O returns to a path that was lost", FAILBACK_NAMES)
        .default(FAILBACK_DEFAULT),
    )
    .option(
      "--hedge-reads <budget>",
      withDefault("send a read again over another path after p99, 20ms and so on, or off", HEDGE_DEFAULT),
      parseHedgeOption,
    )
    .addOption(choiceOption("--device <driver>", "kind of the kernel device", DEVICE_CHOICES).default("auto"))
    .option(
      "--queues <number>",
      withDefault("queues of the device", `one a data-plane thread: one a CPU, at most ${WORKERS_DEFAULT_MAX}`),
      wholeNumber("--queues", QUEUES_RANGE),
    )
    .option(
      "--depth <number>",
      withDefault("requests in flight on a queue", `${QUEUE_DEPTH_DEFAULT}`),
      wholeNumber("--depth", DEPTH_RANGE),
    )
    .option("--read-only", "refuse writes")
    .option("--hdr-digest", "protect the headers on the network by CRC32C")
    .option("--data-digest", "protect the data on the network by CRC32C")
    .option("--hostnqn <nqn>", withDefault("NQN of this host", "/etc/nvme/hostnqn"))
    .option("--hostid <uuid>", withDefault("identifier of this host", "/etc/nvme/hostid"));
  for (const option of timeoutOptions()) attachCommand.addOption(option);
  attachCommand.addHelpText("after", HELP).action(async (nqn, options) => {
    const { device, queues = null, depth = null, name = null, readOnly = false, nsid, policy } = options;
    const { slowPath, failback, hedgeReads = HEDGE_DEFAULT } = options;
    const isGiven = (option: "device" | "policy" | "slowPath" | "failback" | "nsid") =>
      attachCommand.getOptionValueSource(option) === "cli";
    checkWords({ nqn, ...options, nsid: isGiven("nsid") ? nsid : undefined });
    const timeouts = chosenTimeouts(options);
    const digests = { headerDigest: options.hdrDigest === true, dataDigest: options.dataDigest === true };
    const settings = { device, policy, slowPath, failback, hedgeReads };
    const common = { name, ...settings, queues, depth, readOnly: readOnly === true, ...digests, timeouts };
    const given = {
      ...{ name: options.name, queues: options.queues, depth: options.depth, readOnly: readOnly === true, timeouts },
      device: isGiven("device") ? device : undefined,
      policy: isGiven("policy") ? policy : undefined,
      slowPath: isGiven("slowPath") ? slowPath : undefined,
      failback: isGiven("failback") ? failback : undefined,
      hedgeReads: options.hedgeReads,
      ...digests,
    };
    const { output } = context;
    const remark = nqn === undefined ? null : nqnRemark(nqn);
    if (remark !== null) output.warn(remark);
    const host = { hostNqn: options.hostnqn, hostId: options.hostid };
    const question = options.discover === undefined ? null : {
      portal: options.discover,
      asker: askerOf(identityOf(host, output), timeouts.connectTimeoutMs),
      hostEnds: hostEndsOf(options.discover, options),
      paths: options.path ?? [],
    };
    if (options.all === true) {
      await attachAll(nqn ?? null, question!, { context, attach: ask });
      return;
    }
    const paths = question === null ? options.path! : await discoverPaths(nqn!, question, output);
    const result = await ask({ nqn: nqn!, nsid, paths });
    if (output.json) output.object({ ...result });
    else output.line(result.device);

    async function ask(volume: OfferedNamespace): Promise<AttachResult> {
      return await attach({ ...common, ...volume }, { host, given, output });
    }
  });
};

/** What of the words is checked together. */
interface AttachWords {
  nqn?: string | undefined;
  path?: PathSpec[] | undefined;
  discover?: PathSpec | undefined;
  all?: true | undefined;
  name?: string | undefined;
  nsid?: number | undefined;
  hostTraddr?: string[] | undefined;
  hostIface?: string[] | undefined;
}

function checkWords({ nqn, path = [], discover, all, name, nsid, hostTraddr, hostIface }: AttachWords): void {
  const what = nqn === undefined ? "" : ` ${quote(nqn)}`;
  const refuse = (why: string, hint?: string) => new UmpathError("usage", `Cannot attach${what}: ${why}`, { hint });
  if (all === true) {
    if (discover === undefined) throw refuse("--all is given without --discover", "Name the portal with --discover");
    if (path.length > 0) throw refuse("-p is given with --all, whose paths are discovered");
    if (name !== undefined || nsid !== undefined) throw refuse("--all is of every namespace, --name and --nsid of one");
  } else if (nqn === undefined) {
    throw new UmpathError("usage", "Cannot run umpath attach: <nqn> is missing", {
      hint: "Name the subsystem, or --discover PORTAL --all for every namespace on offer",
    });
  }
  if (discover !== undefined) return;
  if (hostTraddr !== undefined || hostIface !== undefined) {
    const option = hostTraddr !== undefined ? "--host-traddr" : "--host-iface";
    throw refuse(`${option} is given without --discover`, "Name it in the path: tcp://ADDR:PORT?host-traddr=ADDR");
  }
  if (path.length === 0) {
    throw refuse("no path is given", "Name each path with -p ADDR or -p ADDR:PORT, or --discover PORTAL");
  }
  if (path.length > PATHS_MAX) throw refuse(`more than ${PATHS_MAX} paths are given`);
}

function addPath(word: string, before: PathSpec[] = []): PathSpec[] {
  const path = parsePathSpec(word);
  const words = pathWords(path);
  if (before.some((other) => pathWords(other) === words)) {
    throw new UmpathError("usage", `Cannot use path ${quote(word)}: it is given twice`);
  }
  return [...before, path];
}

function parseHedgeOption(word: string): string {
  return formatHedge(parseHedge(word, "--hedge-reads"));
}

function addHostTraddr(word: string, before: string[] = []): string[] {
  return [...before, parseHostTraddr(word)];
}

function addHostIface(word: string, before: string[] = []): string[] {
  return [...before, parseHostIface(word)];
}

/** What the user said of the host. */
interface NamedHost {
  hostNqn: string | undefined;
  hostId: string | undefined;
}

async function attach(
  params: Omit<AttachParams, keyof HostIdentity>,
  { host, given, output }: { host: NamedHost; given: GivenOptions; output: Output },
): Promise<AttachResult> {
  const dir = ensureRunDir();
  const onWarning = (message: string) => output.warn(message);
  const identity = hostIdentity({ ...host, runDirPath: dir.path, onWarning });
  const timeoutMs = Deno.env.get("UMPATH_SLOW") ? ATTACH_MS_MAX * ATTACH_SLOW_FACTOR : ATTACH_MS_MAX;
  const start = async () => await (await import("../host/daemon_spawn.ts")).ensureDaemon(dir);
  const result = await askOrStart("attach", { ...params, ...identity }, { dir, timeoutMs, onWarning, start });
  const ignored = result.created ? null : ignoredWords(given, result.volume);
  if (ignored !== null) output.warn(ignored);
  return result;
}
