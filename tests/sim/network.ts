import type { Prng } from "../../src/base/prng.ts";
import { type Clock, Task } from "./clock.ts";
import type { Route } from "./route.ts";

/** Most that is under way in one direction of a connection; a power of two. */
const WINDOW_BYTES = 64 << 10;
const MASK = WINDOW_BYTES - 1;
const CHUNKS_MAX = 1 << 10;

/** How a direction has ended for its reader. */
export type PipeEnd = "open" | "closed" | "reset";

/**
 * One direction of a connection, as TCP makes it: bytes come in order, in any pieces, late or never.
 *
 *     taken ≤ arrived ≤ written ≤ taken + window
 */
export class Pipe {
  readonly isToTarget: boolean;
  readonly #clock: Clock;
  readonly #route: Route;
  readonly #prng: Prng;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #chunkMs = new Float64Array(CHUNKS_MAX);
  readonly #chunkBytes = new Uint32Array(CHUNKS_MAX);
  #firstChunk = 0;
  #chunks = 0;
  #written = 0;
  #arrived = 0;
  #taken = 0;
  #lastMs = 0;
  #isStalled = false;
  /** Nobody reads any more: what is written vanishes. */
  #isAbandoned = false;
  #pendingEnd: PipeEnd = "open";
  #endMs = 0;
  #end: PipeEnd = "open";
  readonly #delivery: Task;
  /** There are bytes to read, or the end is known. */
  onReadable: () => void = () => {};
  /** There is room to write again. */
  onWritable: () => void = () => {};

  constructor(
    clock: Clock,
    route: Route,
    options: { isToTarget: boolean; prng: Prng; bytes: Uint8Array<ArrayBuffer> },
  ) {
    this.#clock = clock;
    this.#route = route;
    this.isToTarget = options.isToTarget;
    this.#prng = options.prng;
    this.#bytes = options.bytes;
    this.#delivery = new Task(clock, () => this.#deliver());
    this.#isStalled = route.isDeafTowards(this);
  }

  // ── the writer's side ─────────────────────────────────────────────────────────────────────────────────────────────

  get room(): number {
    if (this.#isAbandoned) return WINDOW_BYTES;
    if (this.#chunks >= CHUNKS_MAX - 1) return 0;
    return Math.max(Math.min(this.#route.windowBytes, WINDOW_BYTES) - (this.#written - this.#taken), 0);
  }

  /** Takes as much as there is room for: so many bytes. */
  write(memory: Uint8Array, offset: number, bytes: number): number {
    const taken = Math.min(bytes, this.room);
    if (taken === 0 || this.#pendingEnd !== "open" || this.#isAbandoned) return this.#pendingEnd === "open" ? taken : 0;
    const at = this.#written & MASK;
    const first = Math.min(taken, WINDOW_BYTES - at);
    copy(memory, offset, this.#bytes, at, first);
    if (taken > first) copy(memory, offset + first, this.#bytes, 0, taken - first);
    this.#written += taken;
    this.#send(taken);
    return taken;
  }

  /** Changes a byte that was written; `back` counts from the end of what was written. */
  spoil(back: number, value: number): void {
    if (back <= this.#written - this.#arrived) this.#bytes[(this.#written - back) & MASK] = value;
  }

  /** Changes a bit of a byte that was written; `back` counts from the end of what was written. */
  changeBit(back: number, bit: number): void {
    if (back <= this.#written - this.#arrived) this.#bytes[(this.#written - back) & MASK] ^= 1 << bit;
  }

  #arrivalMs(): number {
    const route = this.#route;
    const ms = this.#clock.nowMs + route.latencyMs + this.#prng.unit() * route.jitterMs;
    return this.#lastMs = Math.max(this.#lastMs, ms);
  }

  #send(bytes: number): void {
    while (bytes > 0 && this.#chunks < CHUNKS_MAX - 1) {
      const max = this.#route.segmentBytesMax;
      const size = max < bytes ? 1 + this.#prng.below(max) : bytes;
      this.#append(this.#arrivalMs(), size);
      bytes -= size;
    }
    if (bytes > 0) this.#append(this.#arrivalMs(), bytes);
    this.#schedule();
  }

  #append(ms: number, bytes: number): void {
    const index = (this.#firstChunk + this.#chunks++) & (CHUNKS_MAX - 1);
    this.#chunkMs[index] = ms;
    this.#chunkBytes[index] = bytes;
  }

  /** The writer says no more: the reader learns of it after all that was written. */
  end(how: "closed" | "reset"): void {
    if (this.#pendingEnd === "reset" || this.#end === "reset") return;
    if (how === "reset" && this.#isStalled) this.#loseAll();
    if (this.#pendingEnd === how) return;
    this.#pendingEnd = how;
    this.#endMs = this.#arrivalMs();
    this.#schedule();
  }

  /** What has not arrived never does. */
  #loseAll(): void {
    this.#written = this.#arrived;
    this.#chunks = 0;
  }

  // ── the way ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Nothing arrives until it is called again with false; then all that is under way comes. */
  stall(isStalled: boolean): void {
    if (this.#isStalled === isStalled) return;
    this.#isStalled = isStalled;
    if (isStalled) return this.#delivery.cancel();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isStalled) return;
    if (this.#chunks > 0) this.#delivery.by(Math.max(this.#chunkMs[this.#firstChunk], this.#clock.nowMs));
    else if (this.#pendingEnd !== this.#end) this.#delivery.by(Math.max(this.#endMs, this.#clock.nowMs));
  }

  #deliver(): void {
    const now = this.#clock.nowMs;
    while (this.#chunks > 0 && this.#chunkMs[this.#firstChunk] <= now) {
      this.#arrived += this.#chunkBytes[this.#firstChunk];
      this.#firstChunk = (this.#firstChunk + 1) & (CHUNKS_MAX - 1);
      this.#chunks--;
    }
    if (this.#chunks === 0 && this.#pendingEnd !== this.#end && this.#endMs <= now) {
      this.#end = this.#pendingEnd;
      // Who reads slowly finds nothing more.
      if (this.#end === "reset" && (this.#route.drainMs > 0 || this.#prng.below(2) === 0)) this.#taken = this.#arrived;
    }
    this.#schedule();
    this.onReadable();
  }

  // ── the reader's side ─────────────────────────────────────────────────────────────────────────────────────────────

  get available(): number {
    return this.#arrived - this.#taken;
  }

  /** How the direction has ended, once nothing is left to read. */
  get endOf(): PipeEnd {
    return this.available > 0 ? "open" : this.#end;
  }

  read(memory: Uint8Array, offset: number, bytes: number): void {
    const at = this.#taken & MASK;
    const first = Math.min(bytes, WINDOW_BYTES - at);
    copy(this.#bytes, at, memory, offset, first);
    if (bytes > first) copy(this.#bytes, 0, memory, offset + first, bytes - first);
    this.#taken += bytes;
    this.onWritable();
  }

  /** The reader is gone. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#delivery.cancel();
    this.onReadable = () => {};
    this.onWritable();
  }
}

/** Bytes below which a loop is quicker than making a view. */
const LOOP_BYTES_MAX = 80;

function copy(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, bytes: number): void {
  if (bytes > LOOP_BYTES_MAX) return to.set(from.subarray(fromAt, fromAt + bytes), toAt);
  for (let i = 0; i < bytes; i++) to[toAt + i] = from[fromAt + i];
}

/** One end of a connection. */
export class Socket {
  readonly route: Route;
  readonly incoming: Pipe;
  readonly outgoing: Pipe;
  readonly #onClosed: () => void;
  #isShut = false;
  #isClosed = false;

  constructor(route: Route, incoming: Pipe, outgoing: Pipe, onClosed: () => void) {
    this.route = route;
    this.incoming = incoming;
    this.outgoing = outgoing;
    this.#onClosed = onClosed;
    route.sockets.add(this);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Neither reads nor writes any more; the peer learns of it. */
  shutdown(): void {
    if (this.#isShut) return;
    this.#isShut = true;
    this.outgoing.end("closed");
  }

  /** Gives the socket up. What was not sent is lost. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.outgoing.end("reset");
    this.incoming.abandon();
    this.#onClosed();
  }

  /** Somebody in between resets the connection: this end is told. */
  handleReset(): void {
    this.incoming.end("reset");
  }
}

/** Makes connections; counts those of which an end is open. */
export class Network {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #buffers: Uint8Array<ArrayBuffer>[] = [];
  openSockets = 0;

  constructor(clock: Clock, prng: Prng) {
    this.#clock = clock;
    this.#prng = prng;
  }

  /** Two ends: the host's and the target's. */
  pair(route: Route): [Socket, Socket] {
    const pipe = (isToTarget: boolean) => {
      const bytes = this.#buffers.pop() ?? new Uint8Array(WINDOW_BYTES);
      return { bytes, pipe: new Pipe(this.#clock, route, { isToTarget, prng: this.#prng, bytes }) };
    };
    const there = pipe(true), back = pipe(false);
    let open = 2;
    this.openSockets += 2;
    const makeSocket = (incoming: Pipe, outgoing: Pipe): Socket => {
      const socket: Socket = new Socket(route, incoming, outgoing, () => {
        this.openSockets--;
        if (--open > 0) return;
        for (const end of ends) route.sockets.delete(end);
        this.#buffers.push(there.bytes, back.bytes);
      });
      return socket;
    };
    const ends: [Socket, Socket] = [makeSocket(back.pipe, there.pipe), makeSocket(there.pipe, back.pipe)];
    return ends;
  }
}
