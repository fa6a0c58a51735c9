/**
 * A storage system that says what none should say, at every stage from the first PDU to I/O: the connection ends in
 * bounded time and with a reason, and nothing else suffers.
 */
import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../src/base/prng.ts";
import { UmpathError } from "../../src/base/errors.ts";
import { eventually, fio } from "./harness.ts";
import { AttachedVolume, makeTarget, PORTS, UUID } from "./attached.ts";
import { daemonPid, volumes } from "./daemon_process.ts";
import { loadErrors, newSeed, smallLoad, underLoad } from "./load.ts";
import { type PduFate, PduProxy } from "./pdu_proxy.ts";
import { vmTest } from "./vm_case.ts";

const DETOUR = { addr: "127.0.0.3", port: 4420 };
const OTHER_UUID = "0a0b0c0d-0e0f-4a4b-8c8d-0e0f0a0b0c0d";
const CONNECT_TIMEOUT_MS = 3000;
/** Attach may take its connect timeout, and the emulated machine's time on top. */
const ATTACH_MS_MAX = CONNECT_TIMEOUT_MS + 7000;

/** Answers of the admin queue: ICResp, Connect, then properties and Identify. */
const STAGES = [0, 1, 2, 4, 6, 8];
/** A spoil of a field that ICResp does not have. */
const NOT_IN_ICRESP = "a command that is not there";

type Spoil = (pdu: Uint8Array, prng: Prng) => PduFate;

/** What a bad peer makes of a good PDU. */
const SPOILS: Record<string, Spoil> = {
  garbage: (pdu, prng) => ({ bytes: randomBytes(prng, Math.max(pdu.length, 64)), then: "cut" }),
  "garbage, then silence": (pdu, prng) => ({ bytes: randomBytes(prng, Math.max(pdu.length, 64)), then: "silence" }),
  "a part": (pdu, prng) => ({ bytes: pdu.subarray(0, prng.below(pdu.length)), then: "cut" }),
  "a part, then silence": (pdu, prng) => ({ bytes: pdu.subarray(0, prng.below(pdu.length)), then: "silence" }),
  "an oversized length": (pdu, prng) => withLength(pdu, 0xffffffff - prng.below(1000)),
  "a length a little too large": (pdu, prng) => withLength(pdu, pdu.length + 4 + prng.below(1000)),
  "a length too small": (pdu, prng) => withLength(pdu, prng.below(8)),
  "another type": (pdu, prng) => withByte(pdu, 0, prng.below(256)),
  "another header length": (pdu, prng) => withByte(pdu, 2, prng.below(256)),
  "a digest that was not agreed on": (pdu) => withByte(pdu, 1, pdu[1]! | 0x01),
  "a command that is not there": (pdu) => withByte(pdu, cidAt(pdu), pdu[cidAt(pdu)]! ^ 0x80),
};

/** The upper byte of the command identifier: in a CapsuleResp's completion (type 5), or in a C2HData's or R2T's header. */
function cidAt(pdu: Uint8Array): number {
  return pdu[0] === 5 ? 21 : 9;
}

function randomBytes(prng: Prng, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => prng.below(256));
}

function withByte(pdu: Uint8Array, at: number, value: number): Uint8Array {
  const changed = pdu.slice();
  changed[at] = value === changed[at] ? value ^ 0xff : value;
  return changed;
}

function withLength(pdu: Uint8Array, length: number): Uint8Array {
  const changed = pdu.slice();
  new DataView(changed.buffer).setUint32(4, length, true);
  return changed;
}

vmTest("a bad answer at any stage of attach ends it in bounded time, and other volumes go on", {}, async () => {
  const seed = newSeed();
  const prng = new Prng(seed);
  await using _target = await makeTarget({
    namespaces: [
      { nsid: 1, sizeMiB: 64, blockSize: 4096, uuid: UUID },
      { nsid: 2, sizeMiB: 16, blockSize: 4096, uuid: OTHER_UUID },
    ],
  });
  await using other = await AttachedVolume.attach();
  const daemon = await daemonPid();
  let stage = 0;
  let spoil: Spoil = (pdu) => pdu;
  await using _detour = PduProxy.listen({
    listen: DETOUR,
    target: PORTS[1]!,
    onAnswer: (pdu, { index }) => index === stage ? spoil(pdu, prng) : pdu,
  });
  const surprises: string[] = [];
  const results = await underLoad(smallLoad(other.device, seed), async () => {
    for (const [name, how] of Object.entries(SPOILS)) {
      // Every kind at two stages, so that all stages are met and the test stays short.
      const first = name === NOT_IN_ICRESP ? 1 : 0;
      for (const at of [STAGES[first + prng.below(3 - first)]!, STAGES[3 + prng.below(3)]!]) {
        [stage, spoil] = [at, how];
        const problem = await attemptAttach();
        if (problem !== null) surprises.push(`${name} at stage ${at}: ${problem}`);
      }
    }
  });
  assertEquals(surprises, [], `seed ${seed}`);
  assertEquals(loadErrors(results), []);
  assertEquals(await daemonPid(), daemon, "the daemon is another one");
  assertEquals((await volumes()).map((volume) => volume.nsid), [1]);
});

/** Attaches the spoiled path; why that was not what it should be, or null. An attach that made it is undone. */
async function attemptAttach(): Promise<string | null> {
  const started = performance.now();
  const ports = [DETOUR];
  try {
    const timeouts = { connectTimeoutMs: CONNECT_TIMEOUT_MS };
    const volume = await AttachedVolume.attach({ ports, nsid: 2, device: "none", timeouts });
    await volume.detach();
    return "attach succeeded";
  } catch (error) {
    const ms = performance.now() - started;
    if (!(error instanceof UmpathError)) return String(error);
    if (error.code !== "unreachable") return `code "${error.code}": ${error.message}`;
    if (!error.message.includes("127.0.0.3:4420")) return `the path is not named: ${error.message}`;
    return ms > ATTACH_MS_MAX ? `it took ${ms} ms` : null;
  }
}

vmTest("a bad answer during I/O costs that connection and nothing else", {}, async () => {
  const seed = newSeed();
  const prng = new Prng(seed);
  await using _target = await makeTarget();
  let armed: Spoil | null = null;
  await using _detour = PduProxy.listen({
    listen: DETOUR,
    target: PORTS[1]!,
    onAnswer: (pdu, { index }) => {
      // Past Connect of an I/O queue, whose connections are never the first.
      if (armed === null || index < 4) return pdu;
      const spoil = armed;
      armed = null;
      return spoil(pdu, prng);
    },
  });
  const timeouts = { ioTimeoutMs: 4000, writeHoldMs: 500 };
  await using volume = await AttachedVolume.attach({ ports: [PORTS[0]!, DETOUR], timeouts });
  const daemon = await daemonPid();
  const kinds = [
    "garbage",
    "a part",
    "an oversized length",
    "a length too small",
    "another type",
    "a digest that was not agreed on",
    "a command that is not there",
  ];
  const results = await underLoad(smallLoad(volume.device, seed), async () => {
    for (const kind of kinds) {
      const before = (await volume.path(DETOUR)).reconnects;
      armed = SPOILS[kind]!;
      await eventually(async () => {
        const path = await volume.path(DETOUR);
        if (path.reconnects > before && path.state === "live") return true;
        throw new Error(`after ${kind} the path is ${path.state}, ${path.reconnects} reconnects: ${path.reason}`);
      }, 60_000);
    }
  });
  assertEquals(loadErrors(results), [], `seed ${seed}`);
  assertEquals(await daemonPid(), daemon, "the daemon is another one");
  assert((await volume.path(DETOUR)).reconnects >= kinds.length);
  assertEquals(loadErrors([await fio({ ...smallLoad(volume.device, seed), size: "4m" })]), []);
});
