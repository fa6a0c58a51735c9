import { Argument, Option } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import {
  QUEUE_DEPTH_DEFAULT,
  QUEUE_DEPTH_MAX,
  TARGET_IN_CAPSULE_BYTES_MAX,
  TARGET_IO_QUEUES_MAX,
  TARGET_LISTENERS_MAX,
  WORKERS_DEFAULT_MAX,
  WORKERS_MAX,
} from "../base/limits.ts";
import { listWords, quote } from "../base/text.ts";
import { parseSize } from "../base/units.ts";
import { nqnFault, nqnFormFault } from "../settings/nqn.ts";
import type { ListenSpec, TargetInfo, TargetSpec } from "../rpc/target_api.ts";
import type { Declare } from "./commands.ts";
import { newFaultSeed, parseFaultSeed, readFaultScript } from "./fault_options.ts";
import { commandHelp, withDefault } from "./help.ts";
import { parseListenSpec } from "./listen_spec.ts";
import {
  type NamespaceWords,
  numberNamespaces,
  parseBlockSize,
  parseNamespaceSpec,
  parsePositiveSize,
  parseUuid,
} from "./namespace_spec.ts";
import { parseSubsystemNqn } from "./nqn.ts";
import { wholeNumber } from "./option_words.ts";
import { listenerWords } from "./target_text.ts";
import { type Output, OutputClosed } from "./output.ts";
import { completedBy } from "./word_sources.ts";

const IN_CAPSULE_DEFAULT = "16K";
const IO_QUEUES_DEFAULT = 16;
/** A queue of two entries is the smallest that the specification knows. */
const DEPTH_MIN = 2;
const SERIAL_CHARACTERS_MAX = 20;

const HELP = commandHelp({
  notes: [
    "Serves files, block devices or memory to hosts, in the foreground until SIGTERM or SIGINT. Once the target listens, " +
    "each listener is printed on a line of stdout. The log goes to stderr. umpath target shows a running target and " +
    "changes it.",
    "Each listener is a path with its own ANA state: optimized by default, non-optimized, inaccessible, persistent-loss " +
    "or change. The port is 4420 by default; 0 picks a free one. The address must be one of this host's.",
    "A namespace is FILE or ram=SIZE, followed by any of ,nsid=N ,bs=512 ,bs=4096 ,uuid=UUID ,size=SIZE and ,ro. With " +
    "size, a missing or empty file is created.",
    "Hosts know a namespace by its UUID. A file keeps its UUID in the attribute user.umpath.uuid, or in FILE.umpath if " +
    "the file system has no attributes. The UUID of a block device is made from the device's name. Memory gets a new " +
    "UUID at each start. --uuid, or uuid=UUID for one namespace, overrides it. NGUID and serial number are made from it.",
    "Memory is lost when the target ends. A file can be served by one target at a time, and not while a loop device uses " +
    "it. A block device can be served only while nothing on it is mounted or held. --read-only lifts these limits.",
    "A target can inject faults for testing: umpath target fault --help lists them.",
  ],
  examples: [
    "umpath serve --ram 1G --nqn nqn.2026-11.com.example:vol1 --listen 127.0.0.1 --listen 127.0.0.2",
    "umpath serve disk.img --size 10G --nqn nqn.2026-11.com.example:vol1 --listen 192.0.2.1,ana=non-optimized",
    "umpath serve --nqn nqn.2026-11.com.example:two --listen 127.0.0.1:0 --namespace a.img,bs=512 " +
    "--namespace ram=64M,nsid=7,ro",
  ],
});

/** `umpath serve` */
export const declare: Declare = (command, context) => {
  command
    .description("Serve files, block devices or memory over NVMe/TCP.")
    .usage("[file] --nqn <nqn> --listen <portal>... [options]")
    .addArgument(completedBy(new Argument("[file]", "file or block device to serve as a namespace"), "files"))
    .option("--ram <size>", "serve this much memory as a namespace", (word) => parsePositiveSize(word, "--ram"))
    .option("--namespace <spec>", "serve another namespace; repeatable", addNamespace)
    .option("--nqn <nqn>", "NQN of the subsystem; required", parseServedNqn)
    .addOption(completedBy(
      new Option("--listen <portal>", "ADDR[:PORT][,ana=STATE] to listen on; repeatable")
        .argParser<ListenSpec[]>(addListener),
      "host-addresses",
    ))
    .option(
      "--size <size>",
      "create the file with this size if it is missing or empty",
      (word) => parsePositiveSize(word, "--size"),
    )
    .addOption(completedBy(
      new Option("--block-size <bytes>", withDefault("bytes of a logical block, 512 or 4096", "4096"))
        .argParser<512 | 4096>(parseBlockSize),
      ["512", "4096"],
    ))
    .option("--uuid <uuid>", withDefault("UUID of the namespace", "that of its storage"), parseUuid)
    .option("--read-only", "refuse writes")
    .option("--allow-host <nqn>", withDefault("a host that may connect; repeatable", "all"), addHost)
    .option(
      "--in-capsule <size>",
      withDefault("largest data in a command capsule", IN_CAPSULE_DEFAULT),
      parseInCapsule,
    )
    .option(
      "--queues <number>",
      withDefault("most I/O queues of a controller", `${IO_QUEUES_DEFAULT}`),
      wholeNumber("--queues", { min: 1, max: TARGET_IO_QUEUES_MAX }),
    )
    .option(
      "--depth <number>",
      withDefault("most entries of a queue", `${QUEUE_DEPTH_DEFAULT}`),
      wholeNumber("--depth", { min: DEPTH_MIN, max: QUEUE_DEPTH_MAX }),
    )
    .option(
      "--workers <number>",
      withDefault("data-plane threads", `one for each CPU, at most ${WORKERS_DEFAULT_MAX}`),
      wholeNumber("--workers", { min: 1, max: WORKERS_MAX }),
    )
    .option("--serial <text>", withDefault("serial number", "made from the UUID"), parseSerial)
    .addOption(completedBy(
      new Option("--fault <fault>", "inject this fault from the start; repeatable").argParser<string[]>(addWord),
      "faults",
    ))
    .addOption(completedBy(
      new Option("--fault-script <file>", "inject the faults in this file, one on each line")
        .argParser<string[]>(readFaultScript),
      "files",
    ))
    .option("--fault-seed <number>", withDefault("seed of faults with a chance", "a new one"), parseFaultSeed)
    .addHelpText("after", HELP)
    .action(async (file, options) => {
      const { listen = [], workers = null } = options;
      const nqn = checkGiven(file, options);
      const spec: TargetSpec = {
        nqn,
        serial: options.serial ?? null,
        listeners: listen,
        namespaces: numberNamespaces(namespaceWords(file, options), options.blockSize ?? 4096),
        allowedHosts: options.allowHost ?? null,
        inCapsuleBytes: options.inCapsule ?? parseInCapsule(IN_CAPSULE_DEFAULT),
        queues: options.queues ?? Math.max(IO_QUEUES_DEFAULT, workers ?? 0),
        depth: options.depth ?? QUEUE_DEPTH_DEFAULT,
        workers,
        faults: [...options.faultScript ?? [], ...options.fault ?? []],
        faultSeed: options.faultSeed ?? newFaultSeed(),
      };
      const { runServe } = await import("../serve/process.ts");
      context.exitCode = await runServe(spec, (info) => tellOnce(info, context.output));
    });
};

/** Names everything that is missing at once. */
function checkGiven(
  file: string | undefined,
  { nqn, listen, ram, namespace }: { nqn?: string; listen?: unknown[]; ram?: number; namespace?: unknown[] },
): string {
  const isStored = file !== undefined || ram !== undefined || namespace !== undefined;
  const lacks = [
    ...isStored ? [] : [{ what: "nothing to serve", how: "FILE or --ram SIZE" }],
    ...nqn === undefined ? [{ what: "no NQN", how: "--nqn NQN" }] : [],
    ...listen === undefined ? [{ what: "no listener", how: "--listen ADDR[:PORT]" }] : [],
  ];
  if (lacks.length === 0) return nqn!;
  const verb = lacks.length === 1 ? "is" : "are";
  throw missing(
    `${listWords(lacks.map(({ what }) => what))} ${verb} given`,
    `Add ${listWords(lacks.map(({ how }) => how))}`,
  );
}

/** A reader that leaves, as `head` does, has heard what it wanted: the target goes on. */
function tellOnce(info: TargetInfo, output: Output): void {
  try {
    tell(info, output);
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
  }
}

/** Once it listens: where, for scripts. */
function tell(info: TargetInfo, output: Output): void {
  const { nqn, serial, pid, namespaces, listeners } = info;
  if (!output.json) return listeners.forEach((listener) => output.line(`tcp://${listenerWords(listener)}`));
  output.object({
    ...{ nqn, serial, pid, namespaces },
    listeners: listeners.map((one) => ({ ...one, url: `tcp://${listenerWords(one)}` })),
  });
}

function missing(why: string, hint: string): UmpathError {
  return new UmpathError("usage", `Cannot serve: ${why}`, { hint });
}

/** What stands by itself first, then what --namespace says. */
function namespaceWords(
  file: string | undefined,
  options: {
    ram?: number;
    size?: number;
    uuid?: string;
    readOnly?: true;
    namespace?: NamespaceWords[];
  },
): NamespaceWords[] {
  const { ram, size, uuid, readOnly, namespace: further = [] } = options;
  if (file !== undefined && ram !== undefined) {
    throw missing(`${quote(file)} and --ram are both given`, "Name further ones with --namespace");
  }
  const isAlone = file !== undefined || ram !== undefined;
  const lost = [
    ...size !== undefined && file === undefined ? ["--size"] : [],
    ...uuid !== undefined && !isAlone ? ["--uuid"] : [],
  ];
  if (lost.length > 0) {
    throw missing(`${listWords(lost)} ${lost.length === 1 ? "is" : "are"} for a FILE`, "Say it inside --namespace");
  }
  const rest = { nsid: null, blockSize: null, uuid: uuid ?? null, readOnly: readOnly === true };
  const first: NamespaceWords[] = file !== undefined
    ? [{ ...rest, backing: { type: "file", path: file, sizeBytes: size ?? null } }]
    : ram !== undefined
    ? [{ ...rest, backing: { type: "ram", sizeBytes: ram } }]
    : [];
  return [...first, ...further.map((words) => ({ ...words, readOnly: words.readOnly || readOnly === true }))];
}

function addNamespace(word: string, before: NamespaceWords[] = []): NamespaceWords[] {
  return [...before, parseNamespaceSpec(word)];
}

function addWord(word: string, before: string[] = []): string[] {
  return [...before, word];
}

function addListener(word: string, before: ListenSpec[] = []): ListenSpec[] {
  const spec = parseListenSpec(word);
  const words = listenerWords(spec);
  if (spec.trsvcid !== 0 && before.some((other) => listenerWords(other) === words)) {
    throw new UmpathError("usage", `Cannot use listener ${quote(word)}: it is given twice`);
  }
  if (before.length === TARGET_LISTENERS_MAX) {
    throw new UmpathError("usage", `Cannot listen on more than ${TARGET_LISTENERS_MAX} addresses`);
  }
  return [...before, spec];
}

/** Targets of others have names of any kind; ours have those that the specification gives. */
function parseServedNqn(word: string): string {
  const nqn = parseSubsystemNqn(word);
  const fault = nqnFormFault(nqn);
  if (fault === null) return nqn;
  throw new UmpathError("usage", `Cannot use NQN ${quote(word)}: it ${fault}`, {
    hint: "Write it as nqn.yyyy-mm.reversed.domain:name",
  });
}

function addHost(word: string, before: string[] = []): string[] {
  const fault = nqnFault(word);
  if (fault !== null) throw new UmpathError("usage", `Cannot use ${quote(word)} for --allow-host: it ${fault}`);
  return [...before, word];
}

function parseInCapsule(word: string): number {
  const bytes = parseSize(word, "--in-capsule");
  if (bytes % 16 === 0 && bytes <= TARGET_IN_CAPSULE_BYTES_MAX) return bytes;
  const most = `${TARGET_IN_CAPSULE_BYTES_MAX >> 10}K`;
  throw new UmpathError("usage", `Cannot use ${quote(word)} for --in-capsule: it is no multiple of 16 up to ${most}`);
}

/** What the specification has room for: printable ASCII. */
function parseSerial(word: string): string {
  if (word.length > 0 && word.length <= SERIAL_CHARACTERS_MAX && /^[\x20-\x7e]+$/.test(word)) return word;
  const why = `it is not 1 to ${SERIAL_CHARACTERS_MAX} printable ASCII characters`;
  throw new UmpathError("usage", `Cannot use ${quote(word)} for --serial: ${why}`);
}
