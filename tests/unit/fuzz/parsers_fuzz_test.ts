/** Structures that controllers, hosts and the kernel give as bytes: mutated, cut at every byte, and spliced. */
import { assert, assertEquals } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { pathOf, pathsTo, subsystemsOf } from "../../../src/cli/discovered_paths.ts";
import { parseLine } from "../../../src/rpc/lines.ts";
import { answerInit } from "../../../src/loopdev/init.ts";
import { AnaLogError, anaStateOf, parseAnaLog } from "../../../src/nvme_host/ana.ts";
import { parseAsyncEvent } from "../../../src/nvme_host/async_event.ts";
import { parseDiscoveryEntry } from "../../../src/nvme_host/discovery.ts";
import {
  IdentifyError,
  parseActiveList,
  parseController,
  parseIndependentNamespace,
  parseNamespace,
  parseNamespaceDescriptors,
  parseNvmController,
} from "../../../src/nvme_host/identify.ts";
import { AdminCommand } from "../../../src/nvme_target/admin_command.ts";
import { parseConnect } from "../../../src/nvme_target/connect.ts";
import { decodeDeviceInfo, encodeDeviceInfo } from "../../../src/ublk/device_info.ts";
import { decodeParameters, encodeParameters, ParameterError } from "../../../src/ublk/parameters.ts";
import { initRequest } from "../loopdev/fuse_request.ts";
import { entryData } from "../nvme_host/discovery_log_data.ts";
import {
  activeListData,
  anaLogData,
  descriptorsData,
  identifyControllerData,
  identifyNamespaceData,
  independentNamespaceData,
} from "../nvme_host/fake_controller.ts";
import { connectWords } from "../nvme_target/admin_fixture.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";
import { type ErrorClass, fuzz, outcomeOf, parseGuarded } from "./harness.ts";
import { mutate, mutateInPlace, pick } from "./mutator.ts";

interface Row<T> {
  name: string;
  valid: Uint8Array[];
  parse: (data: Uint8Array<ArrayBuffer>) => T;
  /** The errors that it is documented to throw. */
  errors: ErrorClass[];
  /** What holds of everything that it gives. */
  check: (value: T) => void;
  /** The caller knows how many bytes there are. */
  hasFixedSize?: boolean;
}

const rows: Row<unknown>[] = [
  row({
    name: "parseController()",
    valid: [identifyControllerData()],
    parse: parseController,
    errors: [IdentifyError],
    check(controller) {
      for (const text of [controller.serial, controller.model, controller.firmware, controller.subsystemNqn]) {
        assertPrintable(text);
      }
      assert(controller.asyncEventRequestsMax >= 1 && controller.atomicPowerFailBlocks >= 1);
      assert(controller.retryDelaysMs.length === 4 && controller.retryDelaysMs[0] === 0);
    },
  }),
  row({
    name: "parseNvmController()",
    valid: [new Uint8Array(4096).fill(9, 0, 16)],
    parse: parseNvmController,
    errors: [IdentifyError],
    check: ({ isTold, ...limits }) => {
      assert(isTold);
      assert(Object.values(limits).every((limit) => limit >= 0 && Number.isInteger(limit)));
    },
  }),
  row({
    name: "parseNamespace()",
    valid: [identifyNamespaceData()],
    parse: (data) => parseNamespace(data, 3),
    errors: [IdentifyError],
    check({ blockSize, blocks, nguid, eui64, atomicPowerFailBlocks }) {
      assert((blockSize === 512 || blockSize === 4096) && blocks >= 1 && blocks <= 2 ** 53);
      assert(/^([0-9a-f]{32})?$/.test(nguid) && /^([0-9a-f]{16})?$/.test(eui64) && atomicPowerFailBlocks >= 0);
    },
  }),
  row({
    name: "parseIndependentNamespace()",
    valid: [independentNamespaceData()],
    parse: parseIndependentNamespace,
    errors: [IdentifyError],
    check: ({ cacheless }) => assertEquals(typeof cacheless, "boolean"),
  }),
  row({
    name: "parseNamespaceDescriptors()",
    valid: [descriptorsData()],
    parse: parseNamespaceDescriptors,
    errors: [IdentifyError],
    check({ nguid, eui64, uuid, commandSet }) {
      assert(/^([0-9a-f]{32})?$/.test(nguid) && /^([0-9a-f]{16})?$/.test(eui64) && commandSet <= 255);
      assert(/^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$/.test(uuid));
    },
  }),
  row({
    name: "parseActiveList()",
    valid: [activeListData([1, 2, 5]), activeListData(Array.from({ length: 1024 }, (_, i) => i + 1))],
    parse: parseActiveList,
    errors: [IdentifyError],
    check: (nsids) => assert(nsids.length <= 1024 && nsids.every((nsid, i) => nsid > (nsids[i - 1] ?? 0))),
  }),
  row({
    name: "parseAnaLog()",
    valid: [
      anaLogData([{ id: 1, state: 1, nsids: [1, 2] }, { id: 2, state: 3, nsids: [5] }]),
      anaLogData([1, 2, 3, 4, 15].map((state, i) => ({ id: i + 1, state, nsids: [] }))),
    ],
    parse: parseAnaLog,
    errors: [AnaLogError],
    check(log) {
      for (const [id, group] of log.groups) assert(id > 0 && group.groupId === id && !group.nsids.includes(0));
      assertEquals(typeof anaStateOf(log, { nsid: 1, anaGroupId: 1 }), "string");
    },
  }),
  row({
    name: "parseDiscoveryEntry() and what attach makes of the entry",
    valid: [entryData({}), entryData({ traddr: "fe80::1%eth0", adrfam: 2, subtype: 1, padding: 0 })],
    hasFixedSize: true,
    parse: parseDiscoveryEntry,
    errors: [],
    check(entry) {
      for (const text of [entry.subsystemNqn, entry.traddr, entry.trsvcid]) assertPrintable(text);
      const hostEnds = [null, "192.0.2.9", "2001:db8::9"].flatMap((hostTraddr) =>
        [null, "eth1"].map((hostIface) => ({ hostTraddr, hostIface }))
      );
      for (const nqn of subsystemsOf([entry])) {
        const { paths, leftOut } = pathsTo(nqn, [entry, entry], hostEnds);
        leftOut.forEach(assertPrintable);
        for (const path of paths) assert(path.trsvcid > 0 && path.trsvcid < 65536 && /^[0-9a-f:.]+$/.test(path.traddr));
      }
      for (const hostEnd of hostEnds) outcomeOf(() => pathOf(entry, hostEnd), [UmpathError]);
    },
  }),
  row({
    name: "parseAsyncEvent()",
    valid: [Uint8Array.of(2, 3, 12, 0), Uint8Array.of(0, 3, 1, 0)],
    hasFixedSize: true,
    parse: (data) => parseAsyncEvent(new DataView(data.buffer, data.byteOffset).getInt32(0, true)),
    errors: [],
    check: ({ words, logPage }) => assert(words.length > 5 && logPage >= 0 && logPage < 256),
  }),
  row({
    name: "parseConnect()",
    valid: [connectWords(), connectWords({ qid: 3, sqsize: 127, cntlid: 7 })].map(({ entry, data }) => {
      const bytes = new Uint8Array(64 + data.length);
      bytes.set(new Uint8Array(entry.buffer));
      bytes.set(data, 64);
      return bytes;
    }),
    parse(bytes) {
      const sqe = new Uint8Array(64);
      sqe.set(bytes.subarray(0, 64));
      return parseConnect(new AdminCommand(new Uint32Array(sqe.buffer)), bytes.subarray(64));
    },
    errors: [],
    check(request) {
      if ("answer" in request) {
        const { answer: { status, data }, reason } = request;
        return assert(status > 0 && status < 0x8000 && data === null && reason !== "");
      }
      assert(request.hostId.length === 16 && request.sqEntries >= 2 && request.sqEntries <= 65536);
      assert(request.subsystemNqn !== "");
      for (const nqn of [request.hostNqn, request.subsystemNqn]) assert(!nqn.includes("\0"));
    },
  }),
  row({
    name: "answerInit()",
    valid: [initRequest(), initRequest({ minor: 31 })],
    parse: (data) => answerInit(data, { requestBytes: 1 << 20, maxBackground: 64, pageBytes: 4096 }),
    errors: [],
    check: ({ answer, failure }) => assert(answer === null ? failure !== "" : answer.length === 80),
  }),
  row({
    name: "decodeParameters()",
    valid: [encodeParameters(makeGeometry(), { maxIoBytes: 1 << 19 })],
    parse: decodeParameters,
    errors: [ParameterError],
    check: ({ deviceSectors }) => assert(deviceSectors >= 0n),
  }),
  row({
    name: "decodeDeviceInfo()",
    valid: [encodeDeviceInfo({ devId: 1, queues: 2, depth: 128, maxIoBytes: 1 << 19, features: 66n, pid: 77 })],
    hasFixedSize: true,
    parse: decodeDeviceInfo,
    errors: [],
    check: ({ ownerPid }) => assert(ownerPid === null || (ownerPid >= 0 && ownerPid < 2 ** 32)),
  }),
  row({
    name: "parseLine() and UmpathError.fromWire()",
    valid: ['{"id":1,"method":"list","params":{}}', '{"code":"refused","message":"No","hint":"Yes"}', "[1e400,null]"]
      .map((text) => new TextEncoder().encode(text)),
    parse: parseLine,
    errors: [SyntaxError, TypeError],
    check(value) {
      const { exitCode } = UmpathError.fromWire(value);
      assert(exitCode >= 1 && exitCode <= 8);
    },
  }),
];

function row<T>(made: Row<T>): Row<unknown> {
  return made as Row<unknown>;
}

/** What may be shown in a line of a terminal. */
function assertPrintable(text: string): void {
  assert(!/\p{Cc}|\p{Cf}|\u2028|\u2029/u.test(text), JSON.stringify(text));
}

for (const { name, valid, parse, errors, check, hasFixedSize = false } of rows) {
  const run = (bytes: Uint8Array) => {
    const outcome = parseGuarded(bytes, parse, errors);
    if ("value" in outcome) check(outcome.value);
    return "value" in outcome;
  };

  Deno.test(`${name} takes what is valid`, () => {
    for (const bytes of valid) assert(run(bytes));
  });

  if (!hasFixedSize) {
    Deno.test(`${name} takes or refuses what is cut at any byte`, () => {
      for (const bytes of valid) for (let at = 0; at < bytes.length; at++) run(bytes.subarray(0, at));
    });
  }

  fuzz(`${name} takes or refuses what is garbled`, 400, (prng) => {
    const bytes = pick(prng, valid);
    run((hasFixedSize ? mutateInPlace : mutate)(prng, bytes, { other: pick(prng, valid) }));
  });
}
