/**
 * `umpath serve` as its user sees it, with hosts made by hand: what was flushed outlives a kill, and what it is told
 * holds.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Prng } from "../../src/base/prng.ts";
import {
  AdminOpcode,
  AsyncEventConfig,
  AsyncNotice,
  LogId,
  NvmOpcode,
  RwCdw12,
  SqeAt,
} from "../../src/protocol/nvme.ts";
import { DISCOVERY_NQN } from "../../src/protocol/nvme_fabrics.ts";
import { IdentifyCns } from "../../src/protocol/nvme_identify.ts";
import { ErrorEntryAt } from "../../src/protocol/nvme_log.ts";
import { StatusCode } from "../../src/protocol/nvme_status.ts";
import { delay } from "./host/host_fixture.ts";
import { Cli } from "./cli_fixture.ts";
import { discoveryLog, eventConfigSqe, flushSqe, identifyCnsSqe, logPageSqe, namespaceBlocks } from "./raw_commands.ts";
import { RawHost } from "./raw_host.ts";
import { ioSqe, sqe } from "./raw_pdus.ts";
import { Served } from "./served.ts";
import { BLOCK_BYTES, code, Host, notice, show } from "./served_host.ts";

const NQN = "nqn.2026-11.io.test:served";
const OTHER_HOST = "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100";
const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
const BLOCKS = 2048;
const WRITE_BLOCKS_MAX = 4;

// ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What block `lba` holds after it was written for the time numbered `generation`; zeroes before the first. */
function content(lba: number, generation: number): Uint8Array {
  const words = new Uint32Array(BLOCK_BYTES / 4);
  if (generation === 0) return new Uint8Array(words.buffer);
  const prng = new Prng(lba * 65536 + generation);
  for (let i = 0; i < words.length; i++) words[i] = prng.uint32();
  words[0] = generation;
  return new Uint8Array(words.buffer);
}

/** Writes at random, and knows what has to be there: at least what was flushed, at most what was begun. */
class Writer {
  readonly flushed = new Uint32Array(BLOCKS);
  readonly begun = new Uint32Array(BLOCKS);
  readonly #prng = new Prng(SEED);

  /** Writes until the target is killed. */
  async writeUntilLost(io: RawHost): Promise<void> {
    for (;;) {
      const written: number[] = [];
      for (let i = 0; i < 8; i++) {
        const isForced = this.#prng.below(4) === 0;
        const lbas = await this.#write(io, isForced);
        if (lbas === null) return;
        if (isForced) this.#settle(lbas);
        else written.push(...lbas);
      }
      if (!await succeeds(io.succeed("Flush", flushSqe(1)))) return;
      this.#settle(written);
    }
  }

  async #write(io: RawHost, isForced: boolean): Promise<number[] | null> {
    const blocks = 1 + this.#prng.below(WRITE_BLOCKS_MAX);
    const first = this.#prng.below(BLOCKS - blocks);
    const lbas = Array.from({ length: blocks }, (_, i) => first + i);
    const entry = ioSqe(NvmOpcode.WRITE, first, { blocks, bytes: blocks * BLOCK_BYTES });
    if (isForced) new DataView(entry.buffer).setUint32(SqeAt.CDW12, (blocks - 1) | RwCdw12.FUA, true);
    const data = new Uint8Array(blocks * BLOCK_BYTES);
    lbas.forEach((lba, i) => data.set(content(lba, ++this.begun[lba]!), i * BLOCK_BYTES));
    return await succeeds(io.succeed("Write", entry, data)) ? lbas : null;
  }

  #settle(lbas: number[]): void {
    for (const lba of lbas) this.flushed[lba] = this.begun[lba]!;
  }

  /** Reads everything; what is there counts as flushed from now on. */
  async verify(io: RawHost): Promise<void> {
    const blocks = 32;
    for (let lba = 0; lba < BLOCKS; lba += blocks) {
      const { data } = await io.succeed("Read", ioSqe(NvmOpcode.READ, lba, { blocks, bytes: blocks * BLOCK_BYTES }));
      for (let i = 0; i < blocks; i++) this.#verifyBlock(lba + i, data.slice(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
    }
  }

  #verifyBlock(lba: number, data: Uint8Array<ArrayBuffer>): void {
    const [least, most] = [this.flushed[lba]!, this.begun[lba]!];
    const found = new DataView(data.buffer).getUint32(0, true);
    const what = `block ${lba} (seed ${SEED})`;
    assert(found >= least && found <= most, `${what} has generation ${found}; it was flushed with ${least}`);
    assertEquals(data, content(lba, found), what);
    this.flushed[lba] = this.begun[lba] = found;
  }
}

/** False if the connection was lost. */
async function succeeds(work: Promise<unknown>): Promise<boolean> {
  return await work.then(() => true, (error) => {
    if (String(error).includes("status")) throw error;
    return false;
  });
}

Deno.test("umpath serve: what was flushed to a file survives SIGKILL of the target at any moment", async () => {
  await using cli = new Cli();
  const prng = new Prng(SEED);
  const writer = new Writer();
  const words = [`${cli.folder}/disk.img`, "--size", `${BLOCKS * BLOCK_BYTES}`];
  for (let round = 0; round < 6; round++) {
    await using target = await Served.start(cli, { nqn: NQN, words, portals: 1 });
    using host = await Host.connect(target);
    await writer.verify(host.io);
    const writing = writer.writeUntilLost(host.io);
    await delay(50 + prng.below(400));
    await target.kill();
    await writing;
  }
  assert(writer.flushed.some((generation) => generation > 1), "something was flushed twice");
  await using target = await Served.start(cli, { nqn: NQN, words, portals: 1 });
  using host = await Host.connect(target);
  await writer.verify(host.io);
  const sockets = [...Deno.readDirSync(cli.runDir)].map(({ name }) => name).filter((name) => name.endsWith(".sock"));
  assertEquals(sockets, [`serve-${target.pid}.sock`], "the sockets of those that were killed are gone");
});

Deno.test("umpath serve ends in order at SIGTERM under load: exit code 0, hosts told, nothing left", async () => {
  await using cli = new Cli();
  const writer = new Writer();
  const words = [`${cli.folder}/disk.img`, "--size", `${BLOCKS * BLOCK_BYTES}`];
  {
    await using target = await Served.start(cli, { nqn: NQN, words });
    using host = await Host.connect(target, { portal: 1 });
    const writing = writer.writeUntilLost(host.io);
    await delay(200);
    const log = await target.end();
    assertStringIncludes(log, "SIGTERM: ending");
    await writing;
    await host.admin.untilClosed(1000);
    assertEquals([...Deno.readDirSync(cli.runDir)].map(({ name }) => name), []);
  }
  // Another one has the file and finds all of it.
  await using target = await Served.start(cli, { nqn: NQN, words, portals: 1 });
  using host = await Host.connect(target);
  await writer.verify(host.io);
});

Deno.test("umpath serve serves a file to one target at a time, and read-only to several", async () => {
  await using cli = new Cli();
  const file = `${cli.folder}/disk.img`;
  const serve = (...words: string[]) => cli.run("serve", file, "--nqn", `${NQN}2`, "--listen", "127.0.0.1:0", ...words);
  {
    await using _target = await Served.start(cli, { nqn: NQN, words: [file, "--size", "1M"] });
    for (const words of [[], ["--read-only"]]) {
      const { code, stderr } = await serve(...words);
      assertEquals(code, 7, stderr);
      assertStringIncludes(stderr, `Cannot serve "${file}": another target serves it`);
    }
  }
  await using first = await Served.start(cli, { nqn: NQN, words: [file, "--read-only"] });
  await using second = await Served.start(cli, { nqn: `${NQN}2`, words: [file, "--read-only"] });
  for (const target of [first, second]) {
    using host = await Host.connect(target);
    assertEquals(await host.tryWrite(0), StatusCode.NAMESPACE_WRITE_PROTECTED);
    await host.io.succeed("Read", ioSqe(NvmOpcode.READ, 0, { blocks: 1, bytes: BLOCK_BYTES }));
  }
});

Deno.test("umpath serve: several namespaces have the numbers, sizes and rights they were given", async () => {
  await using cli = new Cli();
  const words = ["--ram", "1M", "--namespace", "ram=2M,nsid=7,ro", "--namespace", `${cli.folder}/b.img,size=3M`];
  await using target = await Served.start(cli, { nqn: NQN, words });
  using host = await Host.connect(target);
  const { data } = await host.admin.succeed("Identify", identifyCnsSqe(IdentifyCns.ACTIVE_NAMESPACE_LIST));
  assertEquals([...new Uint32Array(data.buffer)].slice(0, 4), [1, 2, 7, 0]);
  for (const [nsid, mebibytes] of [[1, 1], [2, 3], [7, 2]] as const) {
    assertEquals(await namespaceBlocks(host.admin, nsid), mebibytes * 256, `namespace ${nsid}`);
  }
  assertEquals(await host.tryWrite(767, 2), 0);
  assertEquals(await host.tryWrite(768, 2), StatusCode.LBA_OUT_OF_RANGE);
  assertEquals(await host.tryWrite(0, 7), StatusCode.NAMESPACE_WRITE_PROTECTED);
  assertEquals(await host.tryWrite(0, 3), StatusCode.INVALID_NAMESPACE_OR_FORMAT);
  const { namespaces } = (await show(target))!;
  assertEquals(namespaces.map(({ nsid, sizeBytes, readOnly, file }) => [nsid, sizeBytes >> 20, readOnly, file]), [
    [1, 1, false, null],
    [7, 2, true, null],
    [2, 3, false, `${cli.folder}/b.img`],
  ]);
});

Deno.test("umpath serve keeps I/O commands that failed in the error log of their controller", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, words: ["--ram", "1M"] });
  using host = await Host.connect(target);
  using other = await Host.connect(target);
  assertEquals(await host.tryWrite(300), StatusCode.LBA_OUT_OF_RANGE);
  const newest = async ({ admin }: Host) => {
    const { data } = await admin.succeed("Get Log Page", logPageSqe(LogId.ERROR_INFORMATION, 64));
    const view = new DataView(data.buffer);
    return {
      sqid: view.getUint16(ErrorEntryAt.SQID, true),
      code: code(view.getUint16(ErrorEntryAt.STATUS, true) >> 1),
      nsid: view.getUint32(ErrorEntryAt.NSID, true),
      lba: Number(view.getBigUint64(ErrorEntryAt.LBA, true)),
    };
  };
  for (const end = performance.now() + 2000; (await newest(host)).sqid === 0 && performance.now() < end;) {
    await delay(5);
  }
  assertEquals(await newest(host), { sqid: 1, code: StatusCode.LBA_OUT_OF_RANGE, nsid: 1, lba: 300 });
  assertEquals((await newest(other)).sqid, 0);
});

Deno.test("umpath serve --allow-host lets these hosts in and no other", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, words: ["--ram", "1M", "--allow-host", OTHER_HOST] });
  const portal = target.portals[0]!;
  using _allowed = await RawHost.connect(portal, { nqn: NQN, hostNqn: OTHER_HOST });
  const refused = await RawHost.connect(portal, { nqn: NQN }).catch((error) => String(error));
  assertMatch(String(refused), /Connect was answered with status 0x4184/);
});

// ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("umpath serve: every listener tells of all of them in its discovery log, and of changes by an event", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN });
  const [first, second] = target.portals;
  using host = await RawHost.controller(second!, DISCOVERY_NQN, { katoMs: 30_000 });
  await host.succeed("Set Features", eventConfigSqe(AsyncEventConfig.DISCOVERY_LOG_CHANGE_NOTICES));
  const portals = async () => {
    const { generation, entries } = await discoveryLog(host);
    const served = entries.filter(({ nqn }) => nqn === NQN);
    assert(new Set(served.map(({ portId }) => portId)).size === served.length, "each has a port ID of its own");
    return { generation, portals: served.map(({ portal }) => portal).sort() };
  };
  const before = await portals();
  assertEquals(before.portals, [first!.words, second!.words]);
  const added = `${first!.hostname}:4430`;

  let event = await host.post(sqe(AdminOpcode.ASYNC_EVENT_REQUEST));
  const { stdout, stderr } = await target.target("listener", "add", added);
  assertEquals([stdout, stderr], ["", `${added}: listener added, optimized\n`]);
  assertEquals(await notice(host, event), AsyncNotice.DISCOVERY_LOG_CHANGE);
  const during = await portals();
  assertEquals(during.portals, [first!.words, added, second!.words].sort());
  assert(during.generation > before.generation, "the generation counts changes");

  event = await host.post(sqe(AdminOpcode.ASYNC_EVENT_REQUEST));
  assertEquals((await target.target("listener", "remove", added)).code, 0);
  assertEquals(await notice(host, event), AsyncNotice.DISCOVERY_LOG_CHANGE);
  const after = await portals();
  assertEquals(after.portals, before.portals);
  assert(after.generation > during.generation);
  assertEquals((await portals()).generation, after.generation, "reading changes nothing");
});

Deno.test("umpath serve ends a controller that is not kept alive with all its queues, and no other", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN });
  using kept = await Host.connect(target, { katoMs: 500 });
  using silent = await Host.connect(target, { katoMs: 500 });
  using without = await Host.connect(target);
  const end = performance.now() + 2000;
  const keeping = (async () => {
    while (performance.now() < end) {
      await kept.admin.succeed("Keep Alive", sqe(AdminOpcode.KEEP_ALIVE));
      await delay(100);
    }
  })();
  const began = performance.now();
  await Promise.all([silent.admin.untilClosed(1900), silent.io.untilClosed(1900)]);
  assert(performance.now() - began > 400, "it was given its time");
  await keeping;
  for (const host of [kept, without]) assertEquals(await host.tryWrite(0), 0);
  assertEquals((await show(target)).controllers.length, 2);
  silent[Symbol.dispose]();
  assertMatch(await target.end(), /ends: its host has not kept it alive/);
});
