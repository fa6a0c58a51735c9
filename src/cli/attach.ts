import { Argument, Option } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { PATHS_MAX, QUEUE_DEPTH_DEFAULT } from "../base/limits.ts";
import { count, listWords, quote } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import { type AttachParams, type AttachResult, DEVICE_CHOICES, type PathSpec } from "../rpc/host_api.ts";
import {
  FAILBACK_DEFAULT,
  FAILBACK_NAMES,
  POLICY_DEFAULT,
  POLICY_NAMES,
  TIMEOUT_DEFAULTS,
} from "../settings/timeouts.ts";
import {
  formatHedge,
  HEDGE_DEFAULT,
  HEDGE_EXAMPLES,
  parseHedge,
  SLOW_PATH_DEFAULT,
  SLOW_PATH_MODES,
} from "../settings/latency_settings.ts";
import { type HostIdentity, hostIdentity } from "../host/daemon/host_identity.ts";
import { DEPTH_RANGE, NSID_RANGE, QUEUES_RANGE } from "../rpc/ranges.ts";
import { ensureRunDir } from "../rpc/run_dir.ts";
import { attachAll, discoverPaths, hostEndsOf, type OfferedNamespace } from "./attach_discovered.ts";
import type { Declare } from "./commands.ts";
import { detachNew, printAttached } from "./attach_result.ts";
import { askOrStart, tellOtherNetwork } from "./daemon_calls.ts";
import { type CallOptions, type ControlSession, DaemonGoneError, openSession } from "../rpc/client.ts";
import { askerOf, identityOf, parseDiscoveryPortal } from "./discovery_calls.ts";
import { commandHelp, withDefault } from "./help.ts";
import { nqnRemark, parseSubsystemNqn } from "./nqn.ts";
import { choiceOption, parseVolumeName, wholeNumber } from "./option_words.ts";
import { untilInterrupted } from "./interruption.ts";
import type { Output } from "./output.ts";
import { pathWords } from "../rpc/path_words.ts";
import { isPathWord, parseHostIface, parseHostTraddr, parsePathSpec } from "./path_spec.ts";
import { chosenTimeouts, timeoutOptions } from "./timeout_options.ts";
import { explainFaults } from "./usage_errors.ts";
import { completedBy } from "./word_sources.ts";

/** The daemon bounds each step itself; this only ends the wait for one that hangs. */
const ATTACH_MS_MAX = 120_000;
const ATTACH_SLOW_FACTOR = 5;

const HELP = commandHelp({
  notes: [
    "Once the device takes I/O, its name is printed on stdout, and nothing else. One live path is enough: a path that " +
    "is down is named on stderr, and umpath keeps retrying it unless the target refuses it. Attaching a volume again " +
    "adds the missing paths and prints the same device. A new path that cannot be reached is then left out unless " +
    "--force is given, and options that the attached volume does not have, such as --read-only, are refused.",
    "A path is ADDR, ADDR:PORT (4420 by default), [IPv6]:PORT or tcp://ADDR:PORT?host-traddr=ADDR&host-iface=IFNAME. " +
    "A duration is a number with ms, s, m or h, such as 250ms or 5s.",
    "With --discover, every portal that the discovery service reports for the subsystem becomes a path, once for each " +
    "--host-traddr and --host-iface. The port of the service is 8009 by default. With --discover and --all, every " +
    "active namespace of every subsystem (or of the given one) is attached, eight at a time. Each device is printed on " +
    "a line of its own, in the order of the discovery log. Failures are named on stderr at the end, and the exit code " +
    "is that of the worst failure. After ^C, devices that were printed stay attached.",
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
  explainFaults(command, ({ kind, args }) => kind === "too-many" ? pathNeedsOption(args) : null);
  const attachCommand = command
    .description("Attach a volume as a block device, using all given paths.")
    .usage("<nqn> -p <path>... [options]")
    .addArgument(completedBy(
      new Argument("[nqn]", "NQN of the subsystem that has the volume").argParser<string>(parseSubsystemNqn),
      "subsystems",
    ))
    .addOption(completedBy(
      new Option("-p, --path <path>", "path to the volume; repeatable").argParser<PathSpec[]>(addPath),
      "portals",
    ))
    .addOption(completedBy(
      new Option("--discover <portal>", "discovery service to get paths from").argParser<PathSpec>(
        parseDiscoveryPortal,
      ),
      "portals",
    ))
    .option("--all", "with --discover: attach every namespace that is offered")
    .addOption(completedBy(
      new Option("--host-traddr <address>", "local address for discovered paths; repeatable")
        .argParser<string[]>(addHostTraddr),
      "host-addresses",
    ))
    .addOption(completedBy(
      new Option("--host-iface <name>", "local interface for discovered paths; repeatable")
        .argParser<string[]>(addHostIface),
      "interfaces",
    ))
    .option("--nsid <number>", "namespace in the subsystem", wholeNumber("--nsid", NSID_RANGE), 1)
    .option("--name <name>", withDefault("name of the volume", "from the NQN"), parseVolumeName)
    .addOption(choiceOption("--policy <policy>", "how paths are chosen", POLICY_NAMES).default(POLICY_DEFAULT))
    .addOption(
      choiceOption("--slow-path <what>", "how a path that is much slower than the others is treated", SLOW_PATH_MODES)
        .default(SLOW_PATH_DEFAULT),
    )
    .addOption(
      choiceOption("--failback <when>", "when I/O returns to a path that is back", FAILBACK_NAMES)
        .default(FAILBACK_DEFAULT),
    )
    .addOption(completedBy(
      new Option(
        "--hedge-reads <budget>",
        withDefault("repeat a late read on another path after this time, such as p99 or 20ms, or off", HEDGE_DEFAULT),
      ).argParser<string>(parseHedgeOption),
      HEDGE_EXAMPLES,
    ))
    .addOption(choiceOption("--device <driver>", "kind of kernel device", DEVICE_CHOICES).default("auto"))
    .option(
      "--queues <number>",
      withDefault(
        `queues of the device, up to the daemon's data-plane threads (at most ${QUEUES_RANGE.max})`,
        "all of them",
      ),
      wholeNumber("--queues", QUEUES_RANGE),
    )
    .option(
      "--depth <number>",
      withDefault(`requests in flight on each queue, 1 to ${DEPTH_RANGE.max}`, `${QUEUE_DEPTH_DEFAULT}`),
      wholeNumber("--depth", DEPTH_RANGE),
    )
    .option("--read-only", "refuse writes")
    .option("--force", "keep a new path that cannot be reached, if the volume is attached already")
    .option("--hdr-digest", "protect PDU headers with CRC32C")
    .option("--data-digest", "protect PDU data with CRC32C")
    .option("--hostnqn <nqn>", withDefault("NQN of this host", "/etc/nvme/hostnqn"))
    .option("--hostid <uuid>", withDefault("identifier of this host", "/etc/nvme/hostid"));
  for (const option of timeoutOptions()) attachCommand.addOption(option);
  attachCommand.addHelpText("after", HELP).action(async (nqn, options) => {
    const { device, queues = null, depth = null, name = null, readOnly = false, nsid } = options;
    const isGiven = (option: "policy" | "slowPath" | "failback" | "nsid") =>
      attachCommand.getOptionValueSource(option) === "cli";
    checkWords({ nqn, ...options, nsid: isGiven("nsid") ? nsid : undefined });
    const timeouts = chosenTimeouts(options);
    const common = {
      ...{ name, device, queues, depth, readOnly: readOnly === true, force: options.force === true, timeouts },
      ...{ headerDigest: options.hdrDigest === true, dataDigest: options.dataDigest === true },
      policy: isGiven("policy") ? options.policy : null,
      slowPath: isGiven("slowPath") ? options.slowPath : null,
      failback: isGiven("failback") ? options.failback : null,
      hedgeReads: options.hedgeReads ?? null,
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
      using attacher = new Attacher(host, output, { isShared: true });
      const attach = (offered: OfferedNamespace, cancel: AbortSignal) =>
        attacher.attach({ ...common, ...offered }, cancel);
      return await attachAll(nqn ?? null, question!, { context, attach });
    }
    const paths = question === null ? options.path! : await discoverPaths(nqn!, question, output);
    const result = await attachOne({ ...common, nqn: nqn!, nsid, paths }, new Attacher(host, output));
    await printAttached(result, () => output.json ? output.object({ ...result }) : output.line(result.device));
  });
};

/** An address as a further argument is a path that lacks its -p; an NQN behind an address stands at the wrong place. */
function pathNeedsOption(args: readonly string[]): UmpathError | null {
  const path = args.find(isPathWord);
  const nqn = args.find((word) => !isPathWord(word));
  if (path === undefined) return null;
  return new UmpathError("usage", `Cannot attach: the path ${quote(path)} is given without -p`, {
    hint: `Write umpath attach ${nqn ?? "NQN"} ${args.filter(isPathWord).map((word) => `-p ${word}`).join(" ")}`,
  });
}

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
    throw new UmpathError("usage", "Cannot attach: no NQN is given", {
      hint: path.length > 0 || discover === undefined
        ? "The usage is: umpath attach NQN -p ADDR"
        : "Add the NQN of the subsystem, or --all for every namespace that is offered",
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

/** What is wanted of one volume. */
type WantedVolume = Omit<AttachParams, keyof HostIdentity>;

/** Asks the daemon for volumes as this host, and starts one if none runs. */
class Attacher implements Disposable {
  readonly output: Output;
  readonly #dir = ensureRunDir();
  readonly #identity: HostIdentity;
  /** Many volumes are asked for over one connection. */
  readonly #isShared: boolean;
  #session: Promise<ControlSession | null> | null = null;

  constructor(host: NamedHost, output: Output, { isShared = false }: { isShared?: boolean } = {}) {
    this.output = output;
    this.#isShared = isShared;
    const onWarning = (message: string) => output.warn(message);
    this.#identity = hostIdentity({ ...host, runDirPath: this.#dir.path, onWarning });
  }

  [Symbol.dispose](): void {
    void this.#session?.then((session) => session?.[Symbol.dispose](), () => {});
  }

  async attach(wanted: WantedVolume, cancel: AbortSignal): Promise<AttachResult> {
    const timeoutMs = Deno.env.get("UMPATH_SLOW") ? ATTACH_MS_MAX * ATTACH_SLOW_FACTOR : ATTACH_MS_MAX;
    const onWarning = (message: string) => this.output.warn(message);
    const result = await this.#ask({ ...wanted, ...this.#identity }, { timeoutMs, onWarning, cancel });
    if (result.created && wanted.queues !== null && wanted.queues > result.volume.queues) {
      const queues = count(result.volume.queues, "queue");
      onWarning(`--queues ${wanted.queues} is more than the daemon's data-plane threads: the device has ${queues}`);
    }
    return result;
  }

  async #ask(params: AttachParams, options: CallOptions): Promise<AttachResult> {
    if (this.#isShared) {
      this.#session ??= this.#openSession();
      const session = await this.#session;
      try {
        if (session !== null) return await session.call("attach", params, options);
      } catch (error) {
        if (!(error instanceof DaemonGoneError)) throw error;
      }
    }
    return await askOrStart("attach", params, { ...options, dir: this.#dir, start: () => this.#start() });
  }

  async #openSession(): Promise<ControlSession | null> {
    await tellOtherNetwork((message) => this.output.warn(message));
    const session = await openSession(this.#dir);
    if (session !== null) return session;
    await this.#start();
    return await openSession(this.#dir);
  }

  async #start(): Promise<void> {
    const { ensureDaemon } = await import("../host/daemon/daemon_spawn.ts");
    await ensureDaemon(this.#dir);
  }
}

/** Attaches one volume, unless the user interrupts it. */
async function attachOne(wanted: WantedVolume, attacher: Attacher): Promise<AttachResult> {
  const { connectTimeoutMs = TIMEOUT_DEFAULTS.connectTimeoutMs } = wanted.timeouts;
  const waited = `${listWords(wanted.paths.map(pathWords))} (connect-timeout ${formatDuration(connectTimeoutMs)})`;
  const undo = async (result: AttachResult) => {
    if (result.created) await detachNew(result);
  };
  return await untilInterrupted({ what: `attach of ${wanted.nqn}`, undo }, (cancel) => {
    return attacher.output.waiting(waited, attacher.attach(wanted, cancel));
  });
}
