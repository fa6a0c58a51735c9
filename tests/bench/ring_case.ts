/** What the ring itself costs: empty operations, and bytes through a pair of sockets. Each body says what it did. */
import { Memory } from "../../src/io/memory.ts";
import { Ring } from "../../src/io/ring.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const MSG_WAITALL = 0x100;
export const PING_BYTES = 64;
export const STREAM_BYTES = 4096;
export const STREAM_SENDS = 16;

/** NOPs, `batch` of them at a time; gives their number. */
export function nopBody(batch: number): () => number {
  const ring = new Ring({ submissions: 64, completions: 128 });
  return () => {
    for (let i = 0; i < batch; i++) ring.prepNop(0, i);
    return complete(ring, batch);
  };
}

/** A few bytes there and back through a pair of sockets, both ends on one ring; gives the round trips. */
export function pingBody(): () => number {
  const ring = new Ring({ submissions: 64, completions: 128 });
  const memory = Memory.allocate(4096);
  const [near, far] = socketPair();
  const pass = (from: number, to: number) => {
    ring.prepReceive(to, memory.address + PING_BYTES, PING_BYTES, MSG_WAITALL, 0, 0);
    ring.prepSend(from, memory.address, PING_BYTES, MSG_WAITALL, 0, 1);
    complete(ring, 2);
  };
  return () => {
    pass(near, far);
    pass(far, near);
    return 1;
  };
}

/** Sends in batches and one receive for all of them; gives the bytes. */
export function streamBody(): () => number {
  const ring = new Ring({ submissions: 64, completions: 128 });
  const memory = Memory.allocate(2 * STREAM_SENDS * STREAM_BYTES);
  const half = STREAM_SENDS * STREAM_BYTES;
  const [near, far] = socketPair();
  return () => {
    for (let i = 0; i < STREAM_SENDS; i++) {
      ring.prepSend(near, memory.address + i * STREAM_BYTES, STREAM_BYTES, MSG_WAITALL, 0, i);
    }
    ring.prepReceive(far, memory.address + half, half, MSG_WAITALL, 0, STREAM_SENDS);
    complete(ring, STREAM_SENDS + 1);
    return half;
  };
}

function complete(ring: Ring, count: number): number {
  for (let left = count; left > 0;) {
    ring.turn(0, -1);
    while (ring.next()) {
      if (ring.result < 0) throw new Error(`An operation of the ring failed: errno ${-ring.result}`);
      left--;
    }
  }
  return count;
}

function socketPair(): [number, number] {
  const libc = Deno.dlopen("libc.so.6", {
    socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  });
  const fds = new Int32Array(2);
  const result = libc.symbols.socketpair(AF_UNIX, SOCK_STREAM, 0, new Uint8Array(fds.buffer));
  libc.close();
  if (result !== 0) throw new Error("Cannot make a pair of sockets");
  return [fds[0]!, fds[1]!];
}
