/**
 * Hosts that are none come to `umpath serve`: random bytes, PDUs that no host should send, halves of PDUs, more
 * connections than there is room for. Each costs its own connection, in bounded time and without a trace, and a host that
 * works at the same time notices nothing.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Prng } from "../../src/base/prng.ts";
import { TARGET_HANDSHAKE_MS, TARGET_HANDSHAKES_MAX } from "../../src/base/limits.ts";
import { AdminOpcode, FABRICS_OPCODE, NvmOpcode, SglIdentifier, SqeAt } from "../../src/protocol/nvme.ts";
import { CONNECT_DATA_BYTES, ConnectAt } from "../../src/protocol/nvme_fabrics.ts";
import { StatusCode, StatusField } from "../../src/protocol/nvme_status.ts";
import { CapsuleCmdAt, H2CDataAt, PduAt, PduHlen, pduHlen, PduType } from "../../src/protocol/nvme_tcp.ts";
import { delay } from "./host/host_fixture.ts";
import { Cli } from "./cli_fixture.ts";
import { RawHost } from "./raw_host.ts";
import {
  capsule,
  connectData,
  connectSqe,
  icReq,
  identifySqe,
  ioSqe,
  pdu,
  spoilt,
  sqe,
  withHeaderDigestFlag,
  withPlen,
  withSgl,
} from "./raw_pdus.ts";
import { Served, type ServedPortal } from "./served.ts";
import { Witness } from "./witness.ts";
import { Stopwatch } from "./stopwatch.ts";

const NQN = "nqn.2026-11.io.test:served";
const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
/** A connection that broke the protocol is closed in so long. */
const CLOSE_MS_MAX = 15_000;
const IO_MS_MAX = 2_000;

function randomBytes(prng: Prng, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => prng.below(256));
}

/** Runs `during` beside a host that works, and fails unless that was untouched and nothing is left. */
async function besideWitness(during: (target: Served) => Promise<void>): Promise<void> {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, words: ["--ram", "16M", "--block-size", "512"] });
  await using witness = await Witness.start(target, { seed: SEED });
  await witness.until(50);
  const took = new Stopwatch();
  const before = target.census();
  const iosBefore = witness.ios;
  await during(target);
  assert(witness.ios > iosBefore, "the other host got on meanwhile");
  await target.assertCensus(before);
  await witness.end();
  assert(witness.longestMs < took.limitMs(IO_MS_MAX), `an I/O of the other host took ${witness.longestMs} ms`);
}

/** Fails unless the target closes the connection by itself; tells it what it got before, by type. */
async function assertCloses(host: RawHost, what: string): Promise<number[]> {
  try {
    return (await host.untilClosed(CLOSE_MS_MAX)).map((answer) => answer[PduAt.TYPE]!);
  } catch (error) {
    throw new Error(`After ${what} (seed ${SEED})`, { cause: error });
  } finally {
    host[Symbol.dispose]();
  }
}

Deno.test("umpath serve closes what sends random bytes, and nobody else notices", async () => {
  const prng = new Prng(SEED);
  await besideWitness(async (target) => {
    for (let round = 0; round < 12; round++) {
      await Promise.all(Array.from({ length: 8 }, async () => {
        const host = await RawHost.open(target.portals[prng.below(2)]!);
        const bytes = randomBytes(prng, 128 + prng.below(8192));
        await host.trySend(bytes);
        await assertCloses(host, `random bytes that begin with ${bytes.subarray(0, 8)}`);
      }));
    }
  });
});

/** First PDUs that are no ICReq, or not one that can be agreed on. */
const BAD_STARTS: Record<string, Uint8Array<ArrayBuffer>> = {
  "an ICReq of another version": icReq({ pfv: 1 }),
  "an ICReq with an alignment that there is none of": icReq({ hpda: 32 }),
  "an ICReq with a wrong header length": spoilt(icReq(), { [PduAt.HLEN]: 64 }),
  "an ICReq that is longer than it is": withPlen(icReq(), 0xffffffff),
  "an ICReq that is shorter than its header": withPlen(icReq(), 4),
  "an ICReq with data": pdu(PduType.ICReq, PduHlen.ICReq + 64, PduHlen.ICReq, PduHlen.ICReq),
  "a command before ICReq": capsule(sqe(AdminOpcode.IDENTIFY)),
  "an ICResp": pdu(PduType.ICResp, PduHlen.ICResp),
  "a type that there is none of": pdu(0x0b, 128),
  "HTTP": new TextEncoder().encode(`GET / HTTP/1.1\r\nHost: storage\r\n\r\n${" ".repeat(128)}`),
  "a TLS ClientHello": Uint8Array.from({ length: 256 }, (_, i) => [0x16, 0x03, 0x01, 0x00, 0xfb, 0x01][i] ?? 0),
};

Deno.test("umpath serve refuses a first PDU that is none it could agree on", async () => {
  await besideWitness(async (target) => {
    for (const [what, bytes] of Object.entries(BAD_STARTS)) {
      const host = await RawHost.open(target.portals[1]!);
      await host.trySend(bytes);
      const answers = await assertCloses(host, what);
      assert(!answers.includes(PduType.ICResp), `${what} was agreed to`);
    }
  });
});

/** PDUs that are wrong after the IC exchange, whatever queue the connection is. */
function badPdus(prng: Prng): Record<string, Uint8Array<ArrayBuffer>> {
  const command = capsule(sqe(AdminOpcode.KEEP_ALIVE));
  const h2cData = pdu(PduType.H2CData, PduHlen.H2CData + 512, PduHlen.H2CData, PduHlen.H2CData);
  new DataView(h2cData.buffer).setUint32(H2CDataAt.DATAL, 512, true);
  return {
    "a second ICReq": icReq(),
    "data that nobody has asked for": h2cData,
    "data that is longer than its PDU": spoilt(h2cData, { [H2CDataAt.DATAL + 2]: 1 }),
    "what only a controller sends": pdu(PduType.CapsuleResp, PduHlen.CapsuleResp),
    "an R2T": pdu(PduType.R2T, PduHlen.R2T),
    "a command of 4 GiB": withPlen(command, 0xffffffff),
    "a command that is shorter than its entry": withPlen(command, 71),
    "a command with a wrong header length": spoilt(command, { [PduAt.HLEN]: 64 }),
    "a command with its data before it": spoilt(capsule(sqe(1), new Uint8Array(64)), { [PduAt.PDO]: 8 }),
    "a header digest that was not agreed on": withHeaderDigestFlag(command),
    "a type that there is none of": pdu(0xee, 128),
    "random bytes": Uint8Array.from([0xff, ...randomBytes(prng, 2000)]),
  };
}

Deno.test("umpath serve ends a connection that breaks the protocol, at every stage of its life", async () => {
  const prng = new Prng(SEED);
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    for (const [what, bytes] of Object.entries(badPdus(prng))) {
      const early = await RawHost.connect(portal);
      await early.trySend(bytes);
      await assertCloses(early, `${what} before Connect`);
      const admin = await RawHost.controller(portal, NQN);
      const io = await RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid });
      await io.trySend(bytes);
      const answers = await assertCloses(io, `${what} on an I/O queue`);
      assertEquals(answers.at(-1), PduType.C2HTermReq, `${what}: the host is told before its connection ends`);
      assertEquals(
        (await admin.succeed("Identify", identifySqe())).data.length,
        4096,
        `${what} cost the admin queue too`,
      );
      await admin.trySend(bytes);
      await assertCloses(admin, `${what} on an admin queue`);
    }
  });
});

Deno.test("umpath serve answers commands that make no sense with a status, and goes on", async () => {
  const prng = new Prng(SEED);
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    let admin = await RawHost.controller(portal, NQN);
    let io = await RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid });
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      const entry = nonsense(prng);
      const queue = prng.unit() < 0.5 ? admin : io;
      try {
        if ((await queue.command(entry)).status !== 0) refused++;
      } catch {
        // Some of these end their connection, or their controller with a Disconnect or CC: a new one has to come up.
        admin[Symbol.dispose]();
        io[Symbol.dispose]();
        admin = await RawHost.controller(portal, NQN);
        io = await RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid });
      }
    }
    assert(refused > 50, `only ${refused} of 150 were refused (seed ${SEED})`);
    io[Symbol.dispose]();
    admin[Symbol.dispose]();
  });
});

/** A command of random bytes that waits for no data of the host's and changes nothing: it neither writes nor parks. */
function nonsense(prng: Prng): Uint8Array<ArrayBuffer> {
  const entry = randomBytes(prng, 64);
  entry[SqeAt.FLAGS] = 0x40;
  // To the host or without data: what takes data would wait for it here.
  const opcode = entry[SqeAt.OPC]! & 0xfe;
  const isChange: number[] = [NvmOpcode.WRITE_ZEROES, AdminOpcode.ASYNC_EVENT_REQUEST];
  entry[SqeAt.OPC] = isChange.includes(opcode) || opcode === (FABRICS_OPCODE & 0xfe) ? NvmOpcode.READ : opcode;
  return withSgl(entry, prng.below(2 ** 16), SglIdentifier.TRANSPORT_DATA_BLOCK);
}

Deno.test("umpath serve refuses a Connect that is wrong with the status that says so", async () => {
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    const good = connectData(NQN, 0xffff);
    const code = async (entry: Uint8Array<ArrayBuffer>, data: Uint8Array | undefined) => {
      using host = await RawHost.connect(portal);
      return (await host.command(entry, data)).status & StatusField.CODE_MASK;
    };
    const { CONNECT_INVALID_PARAMETERS: invalid } = StatusCode;
    assertEquals(await code(connectSqe(0), connectData("nqn.2026-11.io.test:another", 0xffff)), invalid);
    assertEquals(await code(connectSqe(0), new Uint8Array(CONNECT_DATA_BYTES).fill(0x41)), invalid);
    assertEquals(await code(connectSqe(1), connectData(NQN, 0x7ff0)), invalid);
    assertEquals(await code(spoilt(connectSqe(0), { [ConnectAt.SQSIZE]: 0 }), good), invalid);
    assertEquals(
      await code(spoilt(connectSqe(0), { [ConnectAt.RECFMT]: 9 }), good),
      StatusCode.CONNECT_INCOMPATIBLE_FORMAT,
    );
    assert(await code(connectSqe(0), good.subarray(0, 512)) !== 0, "half of the data is not enough");
    assert(await code(identifySqe(), undefined) !== 0, "nothing comes before Connect");
    using admin = await RawHost.controller(portal, NQN);
    await assertRejects(RawHost.connect(portal, { nqn: NQN, qid: 4000, cntlid: admin.cntlid }), "Connect was answered");
    using _first = await RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid });
    await assertRejects(RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid }), "Connect was answered");
    const elsewhere = RawHost.connect(target.portals[0]!, { nqn: NQN, qid: 2, cntlid: admin.cntlid });
    await assertRejects(elsewhere, "Connect was answered");
  });
});

async function assertRejects(work: Promise<Disposable>, words: string): Promise<void> {
  const failure: unknown = await work.then((made) => made[Symbol.dispose](), (error) => error);
  assertStringIncludes(failure instanceof Error ? failure.message : "It was not refused", words);
}

Deno.test("umpath serve gives up hosts that send half a PDU, or a byte at a time, and only those", async () => {
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    const connect = capsule(connectSqe(0), connectData(NQN, 0xffff));
    const halves = [0, 1, 7, 8, 100].map((length) => icReq().subarray(0, length));
    const connects = [0, 1, 8, 71, 72, connect.length - 1].map((length) => connect.subarray(0, length));
    const started = performance.now();
    const silent = await Promise.all([
      ...halves.map((bytes) => begun(portal, bytes)),
      ...connects.map((bytes) => begun(portal, bytes, icReq())),
    ]);
    const dripping = await RawHost.open(portal);
    const drip = (async () => {
      for (const byte of icReq()) {
        if (!await dripping.trySend(Uint8Array.of(byte))) return;
        await delay(150);
      }
    })();
    const hasLeft = await Promise.all([1, 64, 127].map((length) => begun(portal, icReq().subarray(0, length))));
    for (const host of hasLeft) host[Symbol.dispose]();
    await Promise.all([...silent, dripping].map(async (host) => {
      await host.untilClosed(TARGET_HANDSHAKE_MS + CLOSE_MS_MAX);
      host[Symbol.dispose]();
    }));
    assert(performance.now() - started > 1_000, "they were given some time");
    await drip;
  });
});

/** A connection on which some bytes were sent, after others that are waited for an answer to. */
async function begun(portal: ServedPortal, bytes: Uint8Array, before?: Uint8Array): Promise<RawHost> {
  const host = await RawHost.open(portal);
  if (before !== undefined) {
    await host.send(before);
    await host.readPdu();
  }
  await host.send(bytes);
  return host;
}

Deno.test("umpath serve bounds the connections that come to nothing, and is there for hosts afterwards", async () => {
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    const before = target.census();
    const hosts: RawHost[] = [];
    for (let i = 0; i < TARGET_HANDSHAKES_MAX + 100; i++) {
      const host = await RawHost.open(portal).catch(() => null);
      if (host !== null) hosts.push(host);
    }
    await delay(300);
    const { sockets } = target.census();
    assert(sockets <= before.sockets + TARGET_HANDSHAKES_MAX, `${sockets} sockets, ${before.sockets} before`);
    assert(target.residentBytes() < 512 << 20, `${target.residentBytes()} bytes are resident`);
    for (const host of hosts) host[Symbol.dispose]();
    await target.assertCensus(before);
    using admin = await RawHost.controller(portal, NQN);
    assertEquals((await admin.succeed("Identify", identifySqe())).data.length, 4096);
  });
});

Deno.test("umpath serve says busy when there is no room for another controller, and has it again", async () => {
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    const before = target.census();
    const hosts: RawHost[] = [];
    let status = 0;
    while (status === 0 && hosts.length < 2000) {
      const host = await RawHost.connect(portal);
      hosts.push(host);
      status = (await host.command(connectSqe(0), connectData(NQN, 0xffff))).status & StatusField.CODE_MASK;
    }
    assertEquals(status, StatusCode.CONNECT_CONTROLLER_BUSY, `after ${hosts.length} controllers`);
    for (const host of hosts) host[Symbol.dispose]();
    await target.assertCensus(before);
    using admin = await RawHost.controller(portal, NQN);
    assertEquals((await admin.succeed("Identify", identifySqe())).data.length, 4096);
  });
});

Deno.test("umpath serve drops what a host that vanishes in the middle of a write had begun", async () => {
  const prng = new Prng(SEED);
  await besideWitness(async (target) => {
    const portal = target.portals[1]!;
    for (let i = 0; i < 10; i++) {
      const admin = await RawHost.controller(portal, NQN);
      const io = await RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid });
      const bytes = 4096 * (1 + prng.below(16));
      const write = capsule(ioSqe(NvmOpcode.WRITE, 8192, { blocks: bytes / 512, bytes }));
      write[CapsuleCmdAt.SQE + SqeAt.CID] = 7;
      await io.send(write);
      const answer = await io.readPdu();
      assertEquals(answer?.[PduAt.TYPE], PduType.R2T);
      const part = pdu(PduType.H2CData, PduHlen.H2CData + bytes, pduHlen(PduType.H2CData), PduHlen.H2CData);
      part.set(answer!.subarray(H2CDataAt.CCCID, H2CDataAt.TTAG + 2), H2CDataAt.CCCID);
      new DataView(part.buffer).setUint32(H2CDataAt.DATAL, bytes, true);
      await io.send(part.subarray(0, PduHlen.H2CData + prng.below(bytes)));
      const [first, second] = prng.unit() < 0.5 ? [admin, io] : [io, admin];
      first[Symbol.dispose]();
      second[Symbol.dispose]();
    }
  });
});
