/** Words of people and of files: each is taken, or refused with one line that says which word is wrong. */
import { assert, assertEquals } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../../src/base/units.ts";
import { parseListenSpec } from "../../../src/cli/listen_spec.ts";
import { numberNamespaces, parseNamespaceSpec, parseUuid } from "../../../src/cli/namespace_spec.ts";
import { parseSubsystemNqn } from "../../../src/cli/nqn.ts";
import { parseVolumeName, wholeNumber } from "../../../src/cli/option_words.ts";
import {
  parseHostIface,
  parseHostTraddr,
  parsePathName,
  parsePathSpec,
  parsePortal,
} from "../../../src/cli/path_spec.ts";
import { parseSettings } from "../../../src/cli/settings.ts";
import { mountFolders } from "../../../src/io/device_users.ts";
import { hostIdentity } from "../../../src/host/daemon/host_identity.ts";
import { staleFiles } from "../../../src/host/device/left_loop.ts";
import { uuidBytes } from "../../../src/settings/nqn.ts";
import { pathWords } from "../../../src/rpc/path_words.ts";
import { matchesVolume } from "../../../src/rpc/volume_match.ts";
import { faultLines, parseFault } from "../../../src/nvme_target/fault_words.ts";
import { IO_LISTENERS } from "../nvme_target/admin_fixture.ts";
import { fuzz, outcomeOf } from "./harness.ts";
import { mutateText, pick } from "./mutator.ts";

interface Row<T> {
  name: string;
  valid: string[];
  parse: (word: string) => T;
  /** What holds of everything that it gives. */
  check?: (value: T, word: string) => void;
  /** What writes the words: they are read as the same again. */
  write?: (value: T) => string;
}

const UUID = "0f0e0d0c-0b0a-4908-8706-050403020100";
const NQNS = ["nqn.2014-08.org.example:vol", `nqn.2014-08.org.nvmexpress:uuid:${UUID}`, "nqn.2026-11.io.a-b.c"];

const rows: Row<unknown>[] = [
  row({
    name: "parsePathSpec()",
    valid: [
      ...[
        "192.0.2.1",
        "192.0.2.1:4421",
        "[2001:db8::1]:4420",
        "::1",
        "tcp://192.0.2.1",
        "tcp://[fe80::1]:1?host-iface=e0",
      ],
      "tcp://10.0.0.1:65535?host-traddr=10.0.0.2&host-iface=enp1s0.12",
      "tcp://[2001:db8::1]?host-traddr=[2001:db8::2]",
    ],
    parse: (word) => parsePathSpec(word),
    check({ trsvcid, traddr }) {
      assert(trsvcid >= 1 && trsvcid <= 65535 && /^([0-9.]+|[0-9a-f:]+)$/.test(traddr), `${traddr} ${trsvcid}`);
    },
    write: pathWords,
  }),
  row({
    name: "parsePathName()",
    valid: ["0", "15", "999", "192.0.2.1:4420", "tcp://[::1]:4420"],
    parse: parsePathName,
    write: (name) => "id" in name ? String(name.id) : pathWords(name),
  }),
  row({
    name: "parsePortal()",
    valid: ["127.0.0.1", "127.0.0.1:0", "[::1]:4420", "tcp://10.1.2.3:9"],
    parse: (word) => parsePortal(word, "the listener"),
    check: ({ trsvcid }) => assert(trsvcid >= 0 && trsvcid <= 65535),
    write: ({ traddr, trsvcid }) => pathWords({ traddr, trsvcid, hostTraddr: null, hostIface: null }),
  }),
  row({
    name: "parseListenSpec()",
    valid: ["127.0.0.1", "127.0.0.1:4420,ana=non-optimized", "[::1]:0,ana=change"],
    parse: parseListenSpec,
    write: ({ ana, ...portal }) => `${pathWords({ ...portal, hostTraddr: null, hostIface: null })},ana=${ana}`,
  }),
  row({ name: "parseHostTraddr()", valid: ["192.0.2.1", "[::1]", "2001:db8::1"], parse: parseHostTraddr, write: same }),
  row({ name: "parseHostIface()", valid: ["eth0", "enp1s0f0.100", "wg-1"], parse: parseHostIface, write: same }),
  row({
    name: "parseDuration()",
    valid: ["250ms", "5s", "2m", "1h", "0.5s", "2147483647ms"],
    parse: (word) => parseDuration(word, { name: "--io-timeout" }),
    check: (ms) => assert(Number.isInteger(ms) && ms >= 1 && ms < 2 ** 31),
    write: formatDuration,
  }),
  row({
    name: "parseDuration() where off is allowed",
    valid: ["off", "0s", "10m"],
    parse: (word) => parseDuration(word, { name: "--keep-alive", off: true, msMin: 0 }),
    write: formatDuration,
  }),
  row({
    name: "parseSize()",
    valid: ["512", "64K", "10MiB", "1.5G", "8191T", "4kb"],
    parse: (word) => parseSize(word),
    check(bytes) {
      assert(Number.isSafeInteger(bytes) && bytes >= 0);
      assert(/^[\d.]+ ([KMGTP]i)?B$/.test(formatSize(bytes)), formatSize(bytes));
    },
    write: String,
  }),
  row({
    name: "wholeNumber()",
    valid: ["1", "0x40", "1024"],
    parse: wholeNumber("--depth", { min: 1, max: 1024 }),
    check: (number) => assert(Number.isInteger(number) && number >= 1 && number <= 1024),
    write: String,
  }),
  row({ name: "parseVolumeName()", valid: ["vol-1", "a.b_c", "loopy"], parse: parseVolumeName, write: same }),
  row({
    name: "parseSubsystemNqn()",
    valid: NQNS,
    parse: parseSubsystemNqn,
    check: (nqn) => assert(new TextEncoder().encode(nqn).length <= 223 && nqn !== "" && !/\p{Cc}/u.test(nqn)),
    write: same,
  }),
  row({
    name: "parseUuid()",
    valid: [UUID, UUID.toUpperCase()],
    parse: parseUuid,
    check: (uuid) => assertEquals(uuidBytes(uuid).length, 16),
    write: same,
  }),
  row({
    name: "parseNamespaceSpec()",
    valid: ["/srv/disk.img", "ram=64M,nsid=3,bs=512,ro", `disk.img,size=1G,bs=4k,uuid=${UUID}`],
    parse: parseNamespaceSpec,
    check(words) {
      const [namespace] = numberNamespaces([words], 4096);
      assert(namespace.nsid >= 1 && namespace.nsid <= 1024 && [512, 4096].includes(namespace.blockSize));
      assert(namespace.backing.sizeBytes === null || namespace.backing.sizeBytes % 4096 === 0);
    },
    write: ({ backing, nsid, blockSize, uuid, readOnly }) =>
      [
        backing.type === "ram" ? `ram=${backing.sizeBytes}` : backing.path,
        ...(backing.type === "file" && backing.sizeBytes !== null ? [`size=${backing.sizeBytes}`] : []),
        ...(nsid === null ? [] : [`nsid=${nsid}`]),
        ...(blockSize === null ? [] : [`bs=${blockSize}`]),
        ...(uuid === null ? [] : [`uuid=${uuid}`]),
        ...(readOnly ? ["ro"] : []),
      ].join(","),
  }),
  row({
    name: "parseSettings()",
    valid: [
      ...["policy=queue-depth", "preferred-path=none", "preferred-path=3", "weight.192.0.2.1:4420=3", "weight.0=256"],
      ...["io-timeout=10s", "keep-alive=off", "no-path-timeout=0ms", "weight.tcp://[::1]:4420?host-iface=lo=7"],
    ],
    parse: (word) => parseSettings([word]),
    check({ weights, policy }) {
      assert(weights.every(({ weight }) => Number.isInteger(weight) && weight >= 1));
      assert(policy === null || /^[a-z-]+$/.test(policy));
    },
  }),
  row({
    name: "parseFault()",
    valid: [
      ...["1:delay=5ms..50ms,op=read,chance=0.1", "*:reset,every=2s,times=3", "10.0.0.1:4420:down,at=1s,for=3s"],
      ...["2:status=internal-path-error+dnr,op=write+flush,count=1", "[fd00::1]:4421:ana=inaccessible", "*:drop"],
      ...["1:slow-drain=64K,queue=io", "1:status=0x300", "2:tiny-window=4K", "*:half-open,at=0s"],
    ],
    parse: (word) => parseFault(word, IO_LISTENERS),
    check({ chance, value, valueMax, window, listeners }) {
      assert(chance > 0 && chance <= 1 && value >= 0 && value <= valueMax && window.atMs >= 0);
      assert(listeners === null || (listeners.length > 0 && listeners.every((index) => index === 0 || index === 1)));
    },
    write: ({ words }) => words,
  }),
];

function row<T>(made: Row<T>): Row<unknown> {
  return made as Row<unknown>;
}

function same(word: unknown): string {
  return word as string;
}

for (const { name, valid, parse, check, write } of rows) {
  const run = (word: string) => {
    const outcome = outcomeOf(() => judge(parse, word), [UmpathError]);
    if (!("value" in outcome)) return false;
    check?.(outcome.value, word);
    if (write !== undefined) assertEquals(parse(write(outcome.value)), outcome.value, `${word}: written and read`);
    return true;
  };

  Deno.test(`${name} takes what is valid, and what it writes itself`, () => {
    for (const word of valid) assert(run(word), word);
  });

  fuzz(`${name} takes or refuses what is garbled`, 1500, (prng) => {
    run(mutateText(prng, pick(prng, valid), pick(prng, valid)));
  });
}

/** The parser's value; its error is for the command line and fits a line of a terminal. */
function judge<T>(parse: (word: string) => T, word: string): T {
  try {
    return parse(word);
  } catch (error) {
    if (!(error instanceof UmpathError)) throw error;
    assertEquals(error.code, "usage");
    assert(/^(Cannot|There is)\b.*[^.]$/s.test(error.message), error.message);
    for (const text of [error.message, error.hint ?? ""]) {
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text), JSON.stringify(text));
    }
    throw error;
  }
}

fuzz("faultLines() gives words without comments and line breaks", 1000, (prng) => {
  const script = "# a script\n1:delay=5ms # slow\r\n\n*:reset,every=2s\n";
  for (const line of faultLines(mutateText(prng, script))) {
    assert(line === line.trim() && !/[#\n]/.test(line) && line !== "");
  }
});

fuzz(
  "hostIdentity() uses what its files say, or says which is wrong, and gives the same the next time",
  150,
  (prng) => {
    const folder = Deno.makeTempDirSync({ prefix: "umpath-fuzz-" });
    try {
      const [etcPath, runDirPath] = [`${folder}/etc`, `${folder}/run`];
      for (const path of [etcPath, runDirPath]) {
        Deno.mkdirSync(path);
        for (const [file, word] of [["hostnqn", NQNS[1]], ["hostid", UUID]]) {
          const text = prng.below(3) === 0 ? `${word}\n` : mutateText(prng, `${word}\n`);
          if (prng.below(3) > 0) Deno.writeTextFileSync(`${path}/${file}`, text);
        }
      }
      const read = () => outcomeOf(() => hostIdentity({ etcPath, runDirPath, onWarning: () => {} }), [UmpathError]);
      const first = read();
      assertEquals(read(), first);
      if ("value" in first) {
        assertEquals(parseUuid(first.value.hostId), first.value.hostId);
        assert(first.value.hostNqn.startsWith("nqn."));
      } else assert(first.error.startsWith('Cannot use "'), first.error);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
);

fuzz("staleFiles() and mountFolders() read whatever a table of mounts has", 1500, (prng) => {
  const mountinfo = "36 35 98:0 / /run/umpath/loop/vol\\040a rw,noatime shared:1 - fuse.umpath umpath rw\n" +
    "37 35 0:5 / /dev rw - devtmpfs udev rw,size=1k\n";
  const files = ["vol", mutateText(prng, "vol")];
  const backingFiles = new Map([["/dev/loop3", mutateText(prng, "/run/umpath/loop/vol (deleted)")]]);
  const found = staleFiles("/run/umpath/loop", { files, mountinfo: mutateText(prng, mountinfo), backingFiles });
  for (const { path, devices } of found) {
    assert(
      /^\/run\/umpath\/loop\/[^/]*$/.test(path) && devices.every((device) => device === "/dev/loop3"),
      path,
    );
  }
  const mounts = mutateText(prng, mountinfo + "38 35 7:3 / /mnt/a\\040b rw - ext4 /dev/loop3p1 rw\n");
  const disk = { device: "/dev/loop3", numbers: new Set(["7:3"]) };
  for (const folder of mountFolders(mounts, disk)) assertEquals(typeof folder, "string");
});

fuzz("matchesVolume() matches no word but the volume's own names", 1000, (prng) => {
  const volume = { name: "vol-1", device: "/dev/ublkb0", uuid: UUID };
  const word = mutateText(prng, pick(prng, ["vol-1", "ublkb0", "/dev/ublkb0", UUID]));
  const hex = (text: string) => text.toLowerCase().replaceAll("-", "");
  const isOwn = ["vol-1", "ublkb0", "/dev/ublkb0"].includes(word) || hex(word) === hex(UUID);
  assertEquals(matchesVolume(volume, word), isOwn);
});
