import type { Prng } from "../../src/base/prng.ts";
import { ECONNRESET, errnoWords } from "../../src/base/errno.ts";
import type { ByteMachine } from "../../src/io/byte_machine.ts";
import { PduAt, PduHlen, PduType } from "../../src/protocol/nvme_tcp.ts";
import type { Digests } from "../../src/nvme_host/connection.ts";
import { type Clock, Task } from "./clock.ts";
import type { Socket } from "./network.ts";

/**
 * What is done to the next send: its first PDU gets a header that cannot be, its first response comes twice, or a bit of
 * it changes that a digest covers.
 */
export type Spoil = "header" | "duplicate" | "bit";
/** One piece of so many has its bit changed, until one has. */
const BIT_PIECES = 3;

/** How this end's ring behaves. */
export interface LinkManners {
  /** A send is told to be complete so much later, at most. */
  readonly sendDelayMs: number;
  /** What is in the kernel when the socket is shut comes back after so long, at most. */
  readonly quietMs: number;
}

/** Header fields whose change is noticed by whoever reads it, and what they become. */
const SPOILED: readonly (readonly [at: number, value: number])[] = [[PduAt.TYPE, 0xff], [PduAt.HLEN, 1], [
  PduAt.PLEN + 2,
  0xff,
]];

/**
 * A machine on a simulated socket on a simulated ring: at most one receive and one send are in the kernel at a time, and
 * the kernel may use their memory until they come back. It is to machines what `SocketLink` is.
 */
export class Link<M extends ByteMachine & { readonly sendBuffer: { readonly isSending: boolean } }> {
  readonly machine: M;
  readonly socket: Socket;
  /** Done to the next send; null: nothing. */
  spoil: Spoil | null = null;
  readonly #clock: Clock;
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #prng: Prng;
  readonly #manners: LinkManners;
  readonly #wake: () => void;
  readonly #dataEnd: number;
  readonly #digests: () => Digests;
  readonly #sendTask: Task;
  readonly #drainTask: Task;
  #isReceiving = false;
  #isSending = false;
  #isShut = false;
  #sent = 0;
  #wantsWake = false;

  constructor(
    clock: Clock,
    options: {
      socket: Socket;
      machine: M;
      memory: Uint8Array<ArrayBuffer>;
      prng: Prng;
      manners: LinkManners;
      /** Where data ends in the memory; beyond are headers. */
      dataEnd: number;
      /** What is covered by digests. */
      digests: () => Digests;
      /** The owner's turn is due. */
      wake: () => void;
    },
  ) {
    this.#clock = clock;
    this.socket = options.socket;
    this.machine = options.machine;
    this.#memory = options.memory;
    this.#prng = options.prng;
    this.#manners = options.manners;
    this.#wake = options.wake;
    this.#dataEnd = options.dataEnd;
    this.#digests = options.digests;
    this.#sendTask = new Task(clock, () => this.#handleSent());
    this.#drainTask = new Task(clock, () => this.#receiveNow());
    options.socket.incoming.onReadable = () => this.#handleReadable();
    options.socket.outgoing.onWritable = () => this.#handleWritable();
  }

  get isQuiet(): boolean {
    return !this.#isReceiving && !this.#isSending;
  }

  get isShut(): boolean {
    return this.#isShut;
  }

  /** Puts into the ring what the machine wants to receive and send now. */
  arm(): void {
    if (this.#isShut || this.machine.state === "failed") return;
    if (!this.#isSending && this.machine.pollSend()) {
      this.#wantsWake = this.machine.hasMoreToSend;
      this.#beginSend();
      // A send that is complete at once ends no wait; one that is later does.
      this.#wantsWake = true;
    }
    if (!this.#isReceiving) this.#beginReceive();
  }

  // ── receive ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #beginReceive(): void {
    this.machine.prepareReceive();
    if (this.machine.receiveBuffer.segments === 0) return;
    this.#isReceiving = true;
    this.#handleReadable();
  }

  #handleReadable(): void {
    if (!this.#isReceiving || this.#isShut) return;
    const { incoming, route } = this.socket;
    if (incoming.available === 0 && incoming.endOf === "open") return;
    if (route.drainMs === 0) this.#receiveNow();
    else this.#drainTask.by(this.#clock.nowMs + route.drainMs);
  }

  #receiveNow(): void {
    if (!this.#isReceiving || this.#isShut) return;
    const { incoming } = this.socket;
    const bytes = this.#move(this.socket.route.drainBytes);
    if (bytes === 0 && incoming.endOf === "open") return;
    this.#isReceiving = false;
    const machine = this.machine;
    if (machine.state !== "failed") {
      if (bytes > 0) machine.handleReceived(bytes);
      else if (incoming.endOf === "closed") machine.handleClosed();
      else machine.handleTransportError(`cannot receive: ${errnoWords(ECONNRESET)}`);
    }
    this.#wake();
  }

  /** What the kernel does of a receive: fills the memory that it was given. */
  #move(bytesMax: number): number {
    const { incoming } = this.socket;
    const { segments, offset, bytes } = this.machine.receiveBuffer;
    const first = Math.min(bytes[0], incoming.available, bytesMax);
    if (first > 0) incoming.read(this.#memory, offset[0], first);
    if (segments === 1 || first < bytes[0]) return first;
    const second = Math.min(bytes[1], incoming.available, bytesMax - first);
    if (second > 0) incoming.read(this.#memory, offset[1], second);
    return first + second;
  }

  // ── send ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #beginSend(): void {
    this.#isSending = true;
    this.#sent = 0;
    this.#push();
  }

  /** What the kernel does of a send: reads as much of the memory as there is room for in the socket. */
  #push(): void {
    if (this.#isShut || !this.#isSending || this.#sendTask.isPending) return;
    const buffer = this.machine.sendBuffer;
    const pipe = this.socket.outgoing;
    const spoil = this.spoil;
    const segments = buffer.segments;
    let at = 0, isAll = true;
    for (let i = 0; i < segments && isAll; i++) {
      const bytes = buffer.segmentBytes(i);
      const skipped = Math.min(Math.max(this.#sent - at, 0), bytes);
      const written = skipped === bytes
        ? 0
        : pipe.write(this.#memory, buffer.segmentOffset(i) + skipped, bytes - skipped);
      if (spoil === "header" && at === 0 && this.#sent === 0 && written >= PduHlen.CapsuleResp) {
        this.#spoilHeader(written);
      }
      if (spoil === "bit" && written > 0) this.#changeBit(buffer.segmentOffset(i), written);
      this.#sent += written;
      at += bytes;
      isAll = this.#sent >= at;
    }
    if (!isAll) return;
    if (spoil === "duplicate") this.#duplicate();
    const delayMs = this.#manners.sendDelayMs;
    if (delayMs === 0) this.#handleSent();
    else this.#sendTask.in(this.#prng.unit() * delayMs);
  }

  #spoilHeader(written: number): void {
    this.spoil = null;
    const [at, value] = SPOILED[this.#prng.below(SPOILED.length)];
    this.socket.outgoing.spoil(written - at, value);
  }

  /** Changes a bit of what was just written, if a digest covers it. */
  #changeBit(offset: number, written: number): void {
    const first = this.#memory[this.machine.sendBuffer.segmentOffset(0) + PduAt.TYPE];
    if (first === PduType.ICReq || first === PduType.ICResp) return;
    const { header, data } = this.#digests();
    if (!(offset < this.#dataEnd ? data : header) || this.#prng.below(BIT_PIECES) > 0) return;
    this.spoil = null;
    this.socket.outgoing.changeBit(1 + this.#prng.below(written), this.#prng.below(8));
  }

  /** A send begins with a header: if it is that of a response, the response comes once more. */
  #duplicate(): void {
    const buffer = this.machine.sendBuffer;
    const offset = buffer.segmentOffset(0);
    const isResponse = this.#memory[offset + PduAt.TYPE] === PduType.CapsuleResp;
    if (!isResponse || this.socket.outgoing.room < PduHlen.CapsuleResp) return;
    this.spoil = null;
    this.socket.outgoing.write(this.#memory, offset, PduHlen.CapsuleResp);
  }

  #handleWritable(): void {
    if (this.#isSending) this.#push();
  }

  #handleSent(): void {
    if (!this.#isSending || this.#isShut) return;
    this.#isSending = false;
    if (this.machine.state === "failed") return this.#wake();
    this.machine.handleSent(this.#sent);
    if (this.#wantsWake) this.#wake();
  }

  // ── end ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the socket; what is in the kernel comes back soon, and the kernel may have filled its memory by then. */
  shut(): void {
    if (this.#isShut) return;
    this.#isShut = true;
    this.#drainTask.cancel();
    this.#sendTask.cancel();
    const pdu = this.machine.terminationPdu();
    if (pdu !== null && !this.#isSending) this.socket.outgoing.write(pdu, 0, pdu.length);
    this.socket.shutdown();
    if (this.isQuiet) return;
    this.#clock.after(this.#prng.unit() * this.#manners.quietMs, () => this.#comeBack());
  }

  #comeBack(): void {
    if (this.#isReceiving) this.#move(Infinity);
    this.#isReceiving = this.#isSending = false;
    this.#wake();
  }

  /** Gives the socket up. Only when quiet. */
  close(): void {
    this.socket.close();
  }

  /** Leaves the socket to somebody else; nothing may be on its way. */
  leave(): Socket {
    this.#isReceiving = false;
    this.#isShut = true;
    this.#drainTask.cancel();
    this.socket.incoming.onReadable = () => {};
    this.socket.outgoing.onWritable = () => {};
    return this.socket;
  }
}
