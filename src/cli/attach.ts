import { UmpathError } from "../base/errors.ts";
import { PATHS_MAX, QUEUE_DEPTH_DEFAULT, QUEUE_DEPTH_MAX, WORKERS_DEFAULT_MAX, WORKERS_MAX } from "../base/limits.ts";
import { quote } from "../base/text.ts";
import type { AttachParams, PathSpec } from "../host/api.ts";
import { POLICY_DEFAULT, POLICY_NAMES } from "../host/defaults.ts";
import { type HostIdentity, hostIdentity } from "../host/host_identity.ts";
import { ensureRunDir } from "../host/run_dir.ts";
import type { Declare } from "./commands.ts";
import { askOrStart } from "./daemon_calls.ts";
import { commandHelp, withDefault } from "./help.ts";
import { parseSubsystemNqn } from "./nqn.ts";
import { choiceOption, parseVolumeName, wholeNumber } from "./option_words.ts";
import { type GivenOptions, ignoredWords } from "./ignored_options.ts";
import type { Output } from "./output.ts";
import { pathWords } from "../host/path_words.ts";
import { parsePathSpec } from "./path_spec.ts";
import { chosenTimeouts, timeoutOptions } from "./timeout_options.ts";

/** Namespace 0xffffffff means all of them (NVMe Base Specification, Namespace Identifiers). */
const NSID_MAX = 0xfffffffe;
const DEVICES = ["auto", "ublk", "loop", "none"] as const;

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
  ],
  examples: [
    "umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1 -p 198.51.100.1",
    "umpath attach nqn.2026-11.com.example:vol1 -p 'tcp://[2001:db8::1]:4420?host-iface=eth1' --nsid 2",
    "mount $(umpath attach nqn.2026-11.com.example:vol1 -p 192.0.2.1) /mnt",
  ],
});

/** `umpath attach` */
export const declare: Declare = (command, context) => {
  const attachCommand = command
    .description("Make a volume a block device of this host, over all the paths given.")
    .argument("<nqn>", "NQN of the subsystem that has the volume", parseSubsystemNqn)
    .option("-p, --path <path>", "a path to it; one -p for each path", addPath)
    .option("--nsid <number>", "namespace in the subsystem", wholeNumber("--nsid", { min: 1, max: NSID_MAX }), 1)
    .option("--name <name>", withDefault("name of the volume", "made from the NQN"), parseVolumeName)
    .addOption(choiceOption("--policy <policy>", "how a path is picked", POLICY_NAMES).default(POLICY_DEFAULT))
    .addOption(choiceOption("--device <driver>", "kind of the kernel device", DEVICES).default("auto"))
    .option(
      "--queues <number>",
      withDefault("queues of the device", `one a data-plane thread: one a CPU, at most ${WORKERS_DEFAULT_MAX}`),
      wholeNumber("--queues", { min: 1, max: WORKERS_MAX }),
    )
    .option(
      "--depth <number>",
      withDefault("requests in flight on a queue", `${QUEUE_DEPTH_DEFAULT}`),
      wholeNumber("--depth", { min: 1, max: QUEUE_DEPTH_MAX }),
    )
    .option("--read-only", "refuse writes")
    .option("--hdr-digest", "protect the headers on the network by CRC32C")
    .option("--data-digest", "protect the data on the network by CRC32C")
    .option("--hostnqn <nqn>", withDefault("NQN of this host", "/etc/nvme/hostnqn"))
    .option("--hostid <uuid>", withDefault("identifier of this host", "/etc/nvme/hostid"));
  for (const option of timeoutOptions()) attachCommand.addOption(option);
  attachCommand.addHelpText("after", HELP).action(async (nqn, options) => {
    const { path = [], device, hostnqn, hostid, queues = null, depth = null, name = null, readOnly = false } = options;
    if (path.length === 0) {
      throw new UmpathError("usage", `Cannot attach ${quote(nqn)}: no path is given`, {
        hint: "Name each path with -p ADDR or -p ADDR:PORT",
      });
    }
    if (path.length > PATHS_MAX) {
      throw new UmpathError("usage", `Cannot attach ${quote(nqn)}: more than ${PATHS_MAX} paths are given`);
    }
    const { nsid, policy } = options;
    const digests = { headerDigest: options.hdrDigest === true, dataDigest: options.dataDigest === true };
    const timeouts = chosenTimeouts(options);
    const params = {
      nqn,
      nsid,
      name,
      paths: path,
      device,
      policy,
      queues,
      depth,
      readOnly: readOnly === true,
      ...digests,
      timeouts,
    };
    const isGiven = (option: "device" | "policy") => attachCommand.getOptionValueSource(option) === "cli";
    const given = {
      ...{ name: options.name, queues: options.queues, depth: options.depth, readOnly: readOnly === true, timeouts },
      device: isGiven("device") ? device : undefined,
      policy: isGiven("policy") ? policy : undefined,
      ...digests,
    };
    await attach(params, { host: { hostNqn: hostnqn, hostId: hostid }, given, output: context.output });
  });
};

function addPath(word: string, before: PathSpec[] = []): PathSpec[] {
  const path = parsePathSpec(word);
  const words = pathWords(path);
  if (before.some((other) => pathWords(other) === words)) {
    throw new UmpathError("usage", `Cannot use path ${quote(word)}: it is given twice`);
  }
  return [...before, path];
}

/** What the user said of the host. */
interface NamedHost {
  hostNqn: string | undefined;
  hostId: string | undefined;
}

async function attach(
  params: Omit<AttachParams, keyof HostIdentity>,
  { host, given, output }: { host: NamedHost; given: GivenOptions; output: Output },
): Promise<void> {
  const dir = ensureRunDir();
  const onWarning = (message: string) => output.warn(message);
  const identity = hostIdentity({ ...host, runDirPath: dir.path, onWarning });
  const timeoutMs = Deno.env.get("UMPATH_SLOW") ? ATTACH_MS_MAX * ATTACH_SLOW_FACTOR : ATTACH_MS_MAX;
  const start = async () => await (await import("../host/daemon_spawn.ts")).ensureDaemon(dir);
  const result = await askOrStart("attach", { ...params, ...identity }, { dir, timeoutMs, onWarning, start });
  const ignored = result.created ? null : ignoredWords(given, result.volume);
  if (ignored !== null) output.warn(ignored);
  if (output.json) output.object({ ...result });
  else output.line(result.device);
}
