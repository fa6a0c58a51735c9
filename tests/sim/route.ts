import type { Pipe, Socket } from "./network.ts";

/** The weather on the way to one portal; faults change it at any time. */
export class Route {
  /** One way, in ms: so much, and at most so much more. */
  latencyMs = 0.1;
  jitterMs = 0.1;
  /** Most bytes that arrive at once. */
  segmentBytesMax = Infinity;
  /** Bytes that are under way at most: a slow reader holds the writer up. */
  windowBytes = Infinity;
  /** What a reader takes at a time, and how long it rests after that, while it is slow. */
  drainBytes = Infinity;
  drainMs = 0;
  /** Nothing gets through; nobody is told. */
  #isDeafToTarget = false;
  #isDeafToHost = false;
  readonly sockets = new Set<Socket>();

  get isDeaf(): boolean {
    return this.#isDeafToTarget || this.#isDeafToHost;
  }

  /** Nothing gets through in the directions that are true, until this is called again. */
  setDeaf(deaf: { toTarget: boolean; toHost: boolean }): void {
    this.#isDeafToTarget = deaf.toTarget;
    this.#isDeafToHost = deaf.toHost;
    for (const socket of this.sockets) socket.outgoing.stall(this.isDeafTowards(socket.outgoing));
  }

  isDeafTowards(pipe: Pipe): boolean {
    return pipe.isToTarget ? this.#isDeafToTarget : this.#isDeafToHost;
  }
}
