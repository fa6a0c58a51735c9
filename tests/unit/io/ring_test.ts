import { assert, assertEquals, assertThrows } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { check, cString, SystemError } from "../../../ffi/result.ts";
import { EAGAIN, EBUSY, EINTR } from "../../../src/base/errno.ts";
import { Memory } from "../../../src/io/memory.ts";
import { type Enter, Ring } from "../../../src/io/ring.ts";
import { Poller } from "../../../src/io/poller.ts";
import { tcpConnect } from "../../../src/io/tcp.ts";
import { tokenHigh, TokenKind } from "../../../src/io/token.ts";
import { Wake } from "../../../src/io/wake.ts";

/** Completions of this turn: high, low, result. */
function reap(ring: Ring): number[][] {
  const all: number[][] = [];
  while (ring.next()) all.push([ring.tokenHigh, ring.tokenLow, ring.result]);
  return all;
}

Deno.test("Ring brings back both halves of each token, all 64 bits", () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  ring.prepNop(1, 2);
  ring.prepNop(0x7fffffff, -1);
  ring.prepNop(-1, 0x7fffffff);
  assertEquals(ring.pending, 3);
  ring.turn(0, -1);
  assertEquals(ring.pending, 0);
  assertEquals(reap(ring), [[1, 2, 0], [0x7fffffff, -1, 0], [-1, 0x7fffffff, 0]]);
  assertEquals(reap(ring), []);
});

Deno.test("Ring keeps what the kernel does not take just now, and tries again", () => {
  for (const errno of [EAGAIN, EBUSY, EINTR]) {
    let refusals = 0;
    const reluctant = (real: Enter): Enter => (state, submit, ...rest) =>
      submit === 8 && refusals++ % 5 < 4 ? -errno : real(state, submit, ...rest);
    using ring = new Ring({ submissions: 8, completions: 64, enter: reluctant });
    for (let i = 0; i < 30; i++) ring.prepNop(7, i);
    const seen: number[] = [];
    for (let turns = 0; seen.length < 30 && turns < 100; turns++) {
      ring.turn(0, 100);
      seen.push(...reap(ring).map(([, low]) => low!));
    }
    assertEquals(seen, Array.from({ length: 30 }, (_, i) => i), `errno ${errno}`);
    assert(refusals > 4, `${refusals} refusals`);
  }
});

Deno.test("Ring gives up in words when the kernel takes nothing for seconds", () => {
  using ring = new Ring({ submissions: 8, completions: 64, enter: () => () => -EAGAIN });
  for (let i = 0; i < 8; i++) ring.prepNop(7, i);
  const error = assertThrows(() => ring.prepNop(7, 8), SystemError, "Cannot submit to the io_uring, which is full");
  assertEquals(error.errno, EAGAIN);
});

Deno.test("Ring takes more submissions than it has entries, and completes each once", () => {
  for (const completions of [16, 4096]) {
    using ring = new Ring({ submissions: 8, completions });
    const seen = new Set<number>();
    for (let i = 0; i < 1000; i++) ring.prepNop(7, i);
    for (let turns = 0; seen.size < 1000 && turns < 1000; turns++) {
      ring.turn(0, 100);
      for (const [high, low, result] of reap(ring)) {
        assertEquals([high, result], [7, 0]);
        assert(!seen.has(low), `completion ${low} came twice`);
        seen.add(low);
      }
    }
    assertEquals(seen.size, 1000);
  }
});

Deno.test("Ring goes round its queues many times", () => {
  using ring = new Ring({ submissions: 4, completions: 8 });
  for (let round = 0; round < 5000; round++) {
    const count = 1 + round % 4;
    for (let i = 0; i < count; i++) ring.prepNop(round, i);
    ring.turn(0, -1);
    const done = reap(ring);
    while (done.length < count) {
      ring.turn(0, -1);
      done.push(...reap(ring));
    }
    assertEquals(done.map(([high, low]) => [high, low]), Array.from({ length: count }, (_, i) => [round, i]));
  }
});

Deno.test("Ring waits as long as it was told when nothing comes, with and without a spin", () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  for (const [spinUs, timeoutMs] of [[0, 40], [500, 40], [0, 0], [500, 0]]) {
    const startMs = performance.now();
    ring.turn(spinUs, timeoutMs);
    const tookMs = performance.now() - startMs;
    assertEquals(reap(ring), []);
    assert(tookMs >= timeoutMs - 1 && tookMs < timeoutMs + 2000, `${tookMs} ms with ${spinUs} µs and ${timeoutMs} ms`);
  }
});

Deno.test("Ring submits, once, what was prepared before a turn that times out", () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  using wake = new Wake();
  using memory = Memory.allocate(4096);
  for (const spinUs of [0, 200]) {
    ring.prepRead(wake.fd, memory.address, 8, 3, spinUs);
    ring.turn(spinUs, 20);
    assertEquals([ring.pending, reap(ring)], [0, []]);
    Wake.signal(wake.fd);
    ring.turn(spinUs, 1000);
    assertEquals(reap(ring), [[3, spinUs, 8]]);
    ring.turn(spinUs, 20);
    assertEquals(reap(ring), []);
  }
});

Deno.test("Ring wakes from a signal of another thread, and reads what it counts", async () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  using wake = new Wake();
  using memory = Memory.allocate(4096);
  const source = `
    import { Wake } from ${JSON.stringify(import.meta.resolve("../../../src/io/wake.ts"))};
    self.onmessage = ({ data }) => { setTimeout(() => { Wake.signal(data); Wake.signal(data); }, 30); };
    self.postMessage("ready");`;
  const url = URL.createObjectURL(new Blob([source], { type: "application/javascript" }));
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage(wake.fd);
  ring.prepRead(wake.fd, memory.address, 8, 1, 1);
  ring.turn(0, 10_000);
  assertEquals(reap(ring), [[1, 1, 8]]);
  assert(memory.bytes[0] === 1 || memory.bytes[0] === 2);
  worker.terminate();
  URL.revokeObjectURL(url);
});

Deno.test("Ring writes and reads at the very offset of a file that it is told, beyond 32 bits too", () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  using memory = Memory.allocate(4096);
  const path = Deno.makeTempFileSync({ prefix: "umpath-ring-" });
  const fd = check(native().um_file_open(cString(path), 1, 0, 0), "Cannot open the file");
  try {
    const offsets = [0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 33 + 2 ** 31 + 5];
    for (const [i, offset] of offsets.entries()) {
      memory.bytes[0] = i + 1;
      ring.prepWriteAt(fd, memory.address, 1, offset, 0, 1, i);
      ring.turn(0, 1000);
      assertEquals(reap(ring), [[1, i, 1]]);
    }
    using file = Deno.openSync(path);
    const byte = new Uint8Array(1);
    for (const [i, offset] of offsets.entries()) {
      file.seekSync(offset, Deno.SeekMode.Start);
      assertEquals([file.readSync(byte), byte[0]], [1, i + 1]);
      ring.prepReadAt(fd, memory.address + i, 1, offset, 0, 1, i);
      ring.turn(0, 1000);
      assertEquals([reap(ring), memory.bytes[i]], [[[1, i, 1]], i + 1]);
    }
  } finally {
    native().um_close(fd);
    Deno.removeSync(path);
  }
});

Deno.test("Ring tells errors as negative results and goes on", () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  using memory = Memory.allocate(4096);
  ring.prepRead(-1, memory.address, 8, 1, 1);
  ring.prepSend(-1, memory.address, 8, 0, 1, 2);
  ring.prepReceive(-1, memory.address, 8, 0, 1, 3);
  ring.prepNop(1, 4);
  const done: number[][] = [];
  for (let i = 0; i < 10 && done.length < 4; i++) {
    ring.turn(0, 100);
    done.push(...reap(ring));
  }
  assertEquals(done.sort((a, b) => a[1] - b[1]), [[1, 1, -9], [1, 2, -9], [1, 3, -9], [1, 4, 0]]);
});

Deno.test("Memory is zeroed, apart, writable, and unmapped once", () => {
  const one = Memory.allocate(1 << 20);
  using two = Memory.allocate(4096, { lock: true });
  assert(one.address > 0 && one.address % 4096 === 0 && Number.isSafeInteger(one.address));
  assertEquals([one.length, one.bytes.length, two.bytes.length], [1 << 20, 1 << 20, 4096]);
  assert(one.bytes.every((byte) => byte === 0));
  one.bytes.fill(0xff);
  assert(two.bytes.every((byte) => byte === 0));
  using alias = Memory.at(one.address + 4096, 4096);
  alias.bytes[0] = 7;
  assertEquals(one.bytes[4096], 7);
  one[Symbol.dispose]();
  one[Symbol.dispose]();
});

Deno.test("Memory says why it cannot be had", () => {
  const failures = [() => Memory.allocate(2 ** 50), () => Memory.at(0, 4096), () => Memory.mapFile(-1, 4096, 0)];
  const words = failures.map((make) => {
    try {
      make();
      return "made";
    } catch (error) {
      return (error as Error).message;
    }
  });
  assertEquals(words, [
    "Cannot map 1 PiB of memory: out of memory",
    "Cannot use memory at address 0",
    "Cannot map 4096 bytes of file -1 at 0",
  ]);
});

Deno.test("Wake is drained of all its signals at once", () => {
  using ring = new Ring({ submissions: 8, completions: 64 });
  using wake = new Wake();
  using memory = Memory.allocate(4096);
  Wake.signal(wake.fd);
  Wake.signal(wake.fd);
  wake.drain();
  ring.prepRead(wake.fd, memory.address, 8, 1, 1);
  ring.turn(0, 20);
  assertEquals(reap(ring), []);
  Wake.signal(wake.fd);
  ring.turn(0, 1000);
  assertEquals(reap(ring), [[1, 1, 8]]);
});

/** A connected pair: our end as the ring wants it, and the peer's. */
async function connectedPair() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const poller = new Poller();
  const { port } = listener.addr as Deno.NetAddr;
  const to = { traddr: "127.0.0.1", trsvcid: port, hostTraddr: null, hostIface: null };
  const [fd, peer] = await Promise.all([tcpConnect(poller, to, 5000), listener.accept()]);
  return {
    fd,
    peer,
    [Symbol.dispose]: () =>
      [() => native().um_socket_close(fd, 1), () => peer.close(), () => listener.close()].forEach((end) => end()),
  };
}

Deno.test("Ring does not end a turn for a send that completes at once, but for what came with it", async () => {
  using pair = await connectedPair();
  using ring = new Ring({ submissions: 8, completions: 64 });
  using memory = Memory.allocate(4096);
  const send = tokenHigh(TokenKind.SEND, 0);
  const receive = tokenHigh(TokenKind.RECEIVE, 0);
  ring.prepSend(pair.fd, memory.address, 16, 0, send, 1);
  const start = performance.now();
  ring.turn(0, 50);
  assert(performance.now() - start > 40, "a send alone ends no turn");
  assertEquals(reap(ring), [[send, 1, 16]]);
  ring.prepSend(pair.fd, memory.address, 16, 0, tokenHigh(TokenKind.SEND_MORE, 0), 1);
  ring.turn(0, 10_000);
  assertEquals(reap(ring).length, 1, "one after which there is more to send does");
  await pair.peer.write(new Uint8Array(3));
  ring.prepReceive(pair.fd, memory.address, 64, 0, receive, 2);
  ring.prepSend(pair.fd, memory.address, 16, 0, send, 3);
  ring.turn(0, 10_000);
  assertEquals(reap(ring).length, 2);
});

Deno.test("Ring hands over a receive that is ready while a send waits for room", async () => {
  using pair = await connectedPair();
  using ring = new Ring({ submissions: 8, completions: 64 });
  const bytes = 60 << 20;
  using memory = Memory.allocate(bytes);
  const waitAll = 0x100;
  const receive = tokenHigh(TokenKind.RECEIVE, 0);
  await pair.peer.write(new Uint8Array(3));
  ring.prepReceive(pair.fd, memory.address, 64, 0, receive, 2);
  ring.prepSend(pair.fd, memory.address, bytes, waitAll, tokenHigh(TokenKind.SEND, 0), 3);
  const start = performance.now();
  ring.turn(0, 10_000);
  assert(performance.now() - start < 5_000);
  assertEquals(reap(ring), [[receive, 2, 3]]);
});
