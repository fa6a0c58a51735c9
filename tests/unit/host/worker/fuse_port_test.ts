import { assertEquals } from "@std/assert";
import { EAGAIN, EALREADY, ECANCELED, EIO, ENOENT } from "../../../../src/base/errno.ts";
import { NullDevice } from "../../../../src/block/null_device.ts";
import { RequestTable } from "../../../../src/block/request.ts";
import { FusePort } from "../../../../src/host/worker/fuse_port.ts";
import { Memory } from "../../../../src/io/memory.ts";
import type { Ring } from "../../../../src/io/ring.ts";
import { TokenKind, tokenKind, tokenOwner } from "../../../../src/io/token.ts";
import { request, transferBody } from "../../loopdev/fuse_request.ts";
import { makeGeometry } from "../../ublk/fake_kernel.ts";

const FD = 77;
const VOLUME = 5;
const DEPTH = 2;
const BUFFER = 4096;
const POLLIN = 1;
const POLLERR = 8;

/** What was put into the ring. */
type Entry = { op: string; kind: number; low: number; iovecs?: number; count?: number };

/** A ring that keeps what is put into it; the test completes it. */
class FakeRing {
  readonly entries: Entry[] = [];
  tokenLow = 0;
  result = 0;
  isMultishotOver = true;

  prepPoll(fd: number, events: number, high: number, low: number): void {
    assertEquals([fd, events], [FD, POLLIN]);
    this.#put("poll", high, low);
  }

  prepPollRemove(high: number, low: number): void {
    this.#put("poll-remove", high, low);
  }

  prepReadVector(fd: number, iovecs: number, count: number, high: number, low: number): void {
    assertEquals(fd, FD);
    this.#put("read", high, low, { iovecs, count });
  }

  prepWriteVector(fd: number, iovecs: number, count: number, high: number, low: number): void {
    assertEquals(fd, FD);
    this.#put("write", high, low, { iovecs, count });
  }

  #put(op: string, high: number, low: number, rest: Partial<Entry> = {}): void {
    assertEquals(tokenOwner(high), VOLUME);
    this.entries.push({ op, kind: tokenKind(high), low, ...rest });
  }
}

class Rig implements Disposable {
  readonly memory: Memory;
  readonly port: FusePort;
  readonly ring = new FakeRing();
  readonly dataOffset: Uint32Array;

  constructor() {
    const requests = new RequestTable(DEPTH, { bufferBytes: BUFFER });
    const arenaOffset = DEPTH * BUFFER;
    this.memory = Memory.allocate(arenaOffset + FusePort.arenaBytes(DEPTH));
    this.dataOffset = requests.dataOffset;
    this.port = new FusePort({
      fd: FD,
      requests,
      memory: this.memory,
      arenaOffset,
      device: new NullDevice(requests),
      geometry: makeGeometry(),
      volume: VOLUME,
    });
  }

  /** A turn; what it put into the ring. */
  turn(): Entry[] {
    this.port.turn(this.ring as unknown as Ring, 0);
    return this.ring.entries.splice(0);
  }

  ops(): string[] {
    return this.turn().map(({ op }) => op);
  }

  complete(kind: number, result: number, { low = 0, more = false } = {}): void {
    Object.assign(this.ring, { tokenLow: low, result, isMultishotOver: !more });
    this.port.handleCompletion(this.ring as unknown as Ring, kind, 0);
  }

  /** The parts of memory that an entry names: offset and length of each. */
  parts({ iovecs = 0, count = 0 }: Entry): [offset: number, bytes: number][] {
    const view = new DataView(this.memory.bytes.buffer, iovecs - this.memory.address);
    return Array.from({ length: count }, (_, i) => {
      const offset = Number(view.getBigUint64(16 * i, true)) - this.memory.address;
      return [offset, Number(view.getBigUint64(16 * i + 8, true))];
    });
  }

  /** Brings a request into what an entry reads. */
  bring(entry: Entry, bytes: Uint8Array): void {
    const [[header, room], [data]] = this.parts(entry);
    this.memory.bytes.set(bytes.subarray(0, room), header);
    this.memory.bytes.set(bytes.subarray(room), data);
    this.complete(TokenKind.FUSE_READ, bytes.length, { low: entry.low });
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}

/** A port that polls, and its poll is in the kernel. */
function started(): Rig {
  const rig = new Rig();
  assertEquals(rig.turn(), []);
  rig.port.start();
  assertEquals(rig.turn(), [{ op: "poll", kind: TokenKind.FUSE_POLL, low: 0 }]);
  assertEquals(rig.turn(), []);
  return rig;
}

Deno.test("FusePort reads when the poll tells of something: a header, then data into the slot's buffer", () => {
  using rig = started();
  rig.complete(TokenKind.FUSE_POLL, POLLIN, { more: true });
  const [read, ...rest] = rig.turn();
  assertEquals([read.op, read.kind, rest], ["read", TokenKind.FUSE_READ, []]);
  const [header, data] = rig.parts(read);
  assertEquals([header[1], data], [80, [rig.dataOffset[read.low], BUFFER]]);
  rig.complete(TokenKind.FUSE_READ, -EAGAIN, { low: read.low });
  assertEquals(rig.turn(), []);
});

Deno.test("FusePort answers with the header, and the data that was read behind it", () => {
  using rig = started();
  rig.complete(TokenKind.FUSE_POLL, POLLIN, { more: true });
  const [read] = rig.turn();
  rig.bring(read, request({ opcode: 15, unique: 99n, body: transferBody(0n, 1024) }));
  const [write] = rig.turn();
  const [header, data] = rig.parts(write);
  assertEquals([write.op, write.low, header[1], data], ["write", read.low, 16, [rig.dataOffset[read.low], 1024]]);
  const view = new DataView(rig.memory.bytes.buffer, header[0]);
  assertEquals([view.getUint32(0, true), view.getBigUint64(8, true)], [16 + 1024, 99n]);
  rig.complete(TokenKind.FUSE_WRITE, 16 + 1024, { low: write.low });
  assertEquals(rig.port.failure, 0);
});

Deno.test("FusePort polls again after the kernel has ended the poll", () => {
  using rig = started();
  rig.complete(TokenKind.FUSE_POLL, POLLIN, { more: false });
  assertEquals(rig.ops(), ["read", "poll"]);
});

Deno.test("FusePort ends its poll when it is closed, and is drained when both have completed", () => {
  for (const [removed, poll] of [[0, -ECANCELED], [-ENOENT, POLLERR | POLLIN]]) {
    using rig = started();
    rig.port.close();
    assertEquals([rig.ops(), rig.ops()], [["poll-remove"], []]);
    rig.complete(TokenKind.FUSE_POLL, removed);
    assertEquals(rig.port.isDrained, false);
    rig.complete(TokenKind.FUSE_POLL, poll);
    assertEquals([rig.port.isDrained, rig.port.failure, rig.ops()], [true, 0, []]);
  }
});

Deno.test("FusePort asks again for the end of a poll that was telling of something (EALREADY), until it ends", () => {
  using rig = started();
  rig.port.close();
  for (let i = 0; i < 3; i++) {
    assertEquals(rig.ops(), ["poll-remove"]);
    rig.complete(TokenKind.FUSE_POLL, POLLIN, { more: true });
    rig.complete(TokenKind.FUSE_POLL, -EALREADY);
    assertEquals(rig.port.isDrained, false, "the poll is still in the kernel");
  }
  assertEquals(rig.ops(), ["poll-remove"]);
  rig.complete(TokenKind.FUSE_POLL, 0);
  rig.complete(TokenKind.FUSE_POLL, -ECANCELED);
  assertEquals([rig.port.isDrained, rig.port.failure, rig.ops()], [true, 0, []]);
});

Deno.test("FusePort asks no more for the end of a poll that has ended by itself", () => {
  using rig = started();
  rig.port.close();
  rig.turn();
  rig.complete(TokenKind.FUSE_POLL, -EALREADY);
  rig.complete(TokenKind.FUSE_POLL, POLLIN, { more: false });
  assertEquals([rig.ops(), rig.port.isDrained], [[], true]);
});

Deno.test("FusePort is over when the file system is unmounted, and ends its poll itself", () => {
  using rig = started();
  rig.complete(TokenKind.FUSE_POLL, POLLIN | POLLERR, { more: true });
  assertEquals(rig.ops(), ["poll-remove"]);
  rig.complete(TokenKind.FUSE_POLL, 0);
  rig.complete(TokenKind.FUSE_POLL, -ECANCELED);
  assertEquals([rig.port.isDrained, rig.port.failure], [true, 0]);
});

Deno.test("FusePort ends with the errno of a poll that fails", () => {
  using rig = started();
  rig.complete(TokenKind.FUSE_POLL, -EIO);
  assertEquals([rig.port.failure, rig.ops(), rig.port.isDrained], [-EIO, [], true]);
});

Deno.test("FusePort answers what it has read before it is drained", () => {
  using rig = started();
  rig.complete(TokenKind.FUSE_POLL, POLLIN, { more: true });
  const [read] = rig.turn();
  rig.port.close();
  rig.bring(read, request({ opcode: 15, body: transferBody(0n, 512) }));
  const entries = rig.turn();
  assertEquals(entries.map(({ op }) => op), ["write", "poll-remove"]);
  rig.complete(TokenKind.FUSE_POLL, 0);
  rig.complete(TokenKind.FUSE_POLL, -ECANCELED);
  assertEquals(rig.port.isDrained, false);
  rig.complete(entries[0].kind, 16 + 512, { low: read.low });
  assertEquals(rig.port.isDrained, true);
});
