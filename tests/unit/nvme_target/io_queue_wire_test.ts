/** An I/O queue on a real connection, with a naive host at the other end of the wire. */
import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { MemoryDevice } from "../../../src/block/memory_device.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import { TargetConnection } from "../../../src/nvme_target/connection.ts";
import { IoQueue } from "../../../src/nvme_target/io_queue.ts";
import { TargetTable } from "../../../src/nvme_target/target_table.ts";
import { c2hData, naiveCrc32c, NaiveHost, r2t, response, type TargetPdu } from "./naive_host.ts";

const DEPTH = 4;
const BUFFER = 16384;
const BLOCK = 512;
const BLOCKS = 256;
const IN_CAPSULE = 4096;

/** Opcodes and statuses as the specification has them. */
const [FLUSH, WRITE, READ, COMPARE] = [0x00, 0x01, 0x02, 0x05];
const [LBA_OUT_OF_RANGE, COMPARE_FAILURE, INVALID_NAMESPACE] = [0x4080, 0x4285, 0x400b];

class Wire {
  readonly host = new NaiveHost();
  readonly storage = new Uint8Array(BLOCK * BLOCKS);
  readonly connection: TargetConnection;
  readonly device: MemoryDevice;
  readonly queue: IoQueue;
  readonly #memory: Uint8Array<ArrayBuffer>;
  #cid = 0;

  constructor(dgst = 0, stepped = false) {
    const buffers = IoQueue.slots(DEPTH) * BUFFER;
    const memory = this.#memory = new Uint8Array(buffers + TargetConnection.arenaBytes(DEPTH, 8192));
    this.connection = new TargetConnection({
      memory,
      arenaOffset: buffers,
      slots: DEPTH,
      dataOffset: 0,
      dataBytes: BUFFER,
      inCapsuleBytes: IN_CAPSULE,
      receiveBytes: 8192,
      crc32c: (offset, bytes) => naiveCrc32c(memory.subarray(offset, offset + bytes)),
    });
    const requests = new RequestTable(IoQueue.slots(DEPTH), { bufferBytes: BUFFER });
    this.device = new MemoryDevice(requests, { blockSize: BLOCK, storage: this.storage, arena: memory, stepped });
    const table = new TargetTable();
    table.setAna(0, AnaStateCode.OPTIMIZED);
    table.setBlocks(0, BLOCKS);
    this.queue = new IoQueue({
      connection: this.connection,
      requests,
      memory,
      namespaces: [{ index: 0, nsid: 1, blockSize: BLOCK, device: this.device }],
      table,
      listener: 0,
      transferBytesMax: BUFFER,
    });
    this.send(this.host.icReq({ dgst }));
    assertEquals(this.take().map(({ type }) => type), [1]);
    this.host.headerDigest = (dgst & 1) !== 0;
    this.host.dataDigest = (dgst & 2) !== 0;
    this.connection.setQueue({ sqEntries: DEPTH, sqFlowControl: false, sqHead: 1 });
  }

  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      this.connection.prepareReceive();
      const { segments, offset, bytes: room } = this.connection.receiveBuffer;
      assert(segments > 0, "There is room for what the host sends");
      const piece = bytes.subarray(at, at + room[0]);
      this.#memory.set(piece, offset[0]);
      this.connection.handleReceived(piece.length);
      at += piece.length;
    }
  }

  /** What the target has to send now. */
  take(): TargetPdu[] {
    const pdus: TargetPdu[] = [];
    const buffer = this.connection.sendBuffer;
    while (this.connection.pollSend()) {
      let sum = 0;
      for (let i = 0; i < buffer.segments; i++) {
        const offset = buffer.segmentOffset(i), bytes = buffer.segmentBytes(i);
        pdus.push(...this.host.receive(this.#memory.slice(offset, offset + bytes)));
        sum += bytes;
      }
      this.connection.handleSent(sum);
    }
    return pdus;
  }

  /** A command on blocks; what the target sends for it. */
  command(opcode: number, lba: number, blocks: number, data?: Uint8Array, nsid = 1): TargetPdu[] {
    const cid = this.#cid++;
    const dwords = { 1: nsid, 10: lba, 12: Math.max(blocks - 1, 0) };
    if (data === undefined) {
      const sgl = blocks === 0 ? { identifier: 0 } : { length: blocks * BLOCK };
      this.send(this.host.command({ cid, opcode, sgl, dwords }));
    } else if (data.length <= IN_CAPSULE) this.send(this.host.command({ cid, opcode, data, dwords }));
    else this.send(this.host.command({ cid, opcode, sgl: { length: data.length }, dwords }));
    this.queue.turn(0);
    const pdus = this.take();
    if (data === undefined || data.length <= IN_CAPSULE || pdus[0]?.type !== 9) return pdus;
    for (const { tag, offset, bytes } of pdus.map(r2t)) {
      this.send(this.host.h2cData(cid, { tag, offset, data: data.subarray(offset, offset + bytes) }));
    }
    this.queue.turn(0);
    return this.take();
  }

  status(opcode: number, lba: number, blocks: number, data?: Uint8Array, nsid?: number): number {
    const pdus = this.command(opcode, lba, blocks, data, nsid);
    assertEquals(pdus.length, 1);
    return response(pdus[0]).status;
  }

  read(lba: number, blocks: number): Uint8Array {
    const pdus = this.command(READ, lba, blocks);
    const data = new Uint8Array(blocks * BLOCK).fill(0xee);
    for (const pdu of pdus) {
      data.set(pdu.data, c2hData(pdu).offset);
      assertEquals([pdu.headerDigestOk, pdu.dataDigestOk], [true, true]);
    }
    assertEquals(c2hData(pdus.at(-1)!).success, true);
    return data;
  }
}

function random(prng: Prng, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, () => prng.below(256));
}

for (const [dgst, name] of ["without digests", "with header digests", "with data digests", "with both"].entries()) {
  Deno.test(`IoQueue on a connection ${name} reads back what was written, in capsules and after R2T`, () => {
    const wire = new Wire(dgst);
    const prng = new Prng(dgst + 1);
    for (let i = 0; i < 60; i++) {
      const blocks = 1 + prng.below(BUFFER / BLOCK), lba = prng.below(BLOCKS - blocks + 1);
      const data = random(prng, blocks * BLOCK);
      assertEquals(wire.status(WRITE, lba, blocks, data), 0);
      assertEquals(wire.storage.slice(lba * BLOCK, (lba + blocks) * BLOCK), data);
      assertEquals(wire.read(lba, blocks), data);
      assertEquals(wire.status(COMPARE, lba, blocks, data), 0);
      data[prng.below(data.length)] ^= 1;
      assertEquals(wire.status(COMPARE, lba, blocks, data), COMPARE_FAILURE);
    }
    assertEquals([wire.status(FLUSH, 0, 0), wire.status(FLUSH, 0, 0, undefined, 0xffffffff)], [0, 0]);
    assertEquals([wire.connection.inFlight, wire.queue.isIdle], [0, true]);
  });
}

Deno.test("IoQueue on a connection refuses what is wrong with a write before it asks for its data", () => {
  const wire = new Wire();
  const large = new Uint8Array(2 * IN_CAPSULE);
  assertEquals(wire.status(WRITE, BLOCKS - 15, 16, large), LBA_OUT_OF_RANGE);
  assertEquals(wire.status(WRITE, 0, 16, large, 2), INVALID_NAMESPACE);
  assertEquals(wire.status(READ, BLOCKS, 1), LBA_OUT_OF_RANGE);
  assertEquals(wire.status(WRITE, 0, 16, large), 0);
  assertEquals(wire.connection.inFlight, 0);
});

Deno.test("IoQueue gives every slot back to a connection that fails while the device is at work", () => {
  const wire = new Wire(0, true);
  for (const opcode of [READ, COMPARE, COMPARE, FLUSH]) {
    const data = opcode === COMPARE ? new Uint8Array(BLOCK) : undefined;
    assertEquals(wire.command(opcode, 3, opcode === FLUSH ? 0 : 1, data), []);
  }
  assertEquals([wire.connection.inFlight, wire.device.held], [4, 3]);
  wire.connection.handleClosed();
  wire.queue.turn(1);
  assertEquals([wire.connection.state, wire.queue.isIdle], ["failed", false]);
  while (wire.device.held > 0) wire.device.step();
  wire.queue.turn(2);
  assertEquals([wire.queue.isIdle, wire.connection.inFlight, wire.device.held], [true, 0, 0]);
});
