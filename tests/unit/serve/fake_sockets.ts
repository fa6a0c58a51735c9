/**
 * Sockets that a test moves by hand, in place of the kernel's: what the C library does with them is done here, for as
 * long as this is there. A descriptor is a number that the kernel does not have.
 */
import { native } from "../../../ffi/library.ts";
import { EAGAIN, ECONNRESET, EPIPE } from "../../../src/base/errno.ts";
import type { UmpathError } from "../../../src/base/errors.ts";
import type { Poller, Watch } from "../../../src/io/poller.ts";

const FD_FIRST = 1_000_000;

/** One end of a connection, as the program under test has it, and what the other end does. */
export class FakeSocket {
  /** Bytes for the program, in pieces as they arrive. */
  readonly #incoming: Uint8Array[] = [];
  #sent: number[] = [];
  #hasEnded = false;
  #errno = 0;
  /** Bytes that may be sent before the socket is full. */
  room = Infinity;
  state: "open" | "shut" | "closed" | "reset" = "open";

  constructor(readonly fd: number, readonly name: string) {}

  /** The host sends. */
  arrive(bytes: Uint8Array): void {
    this.#incoming.push(bytes);
  }

  /** The host closes its end. */
  end(): void {
    this.#hasEnded = true;
  }

  /** The connection breaks. */
  fail(errno = ECONNRESET): void {
    this.#errno = errno;
  }

  /** What the program has sent since it was asked last. */
  take(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#sent.splice(0));
  }

  receive(into: Uint8Array, bytes: number): number {
    if (this.#errno !== 0) return -this.#errno;
    const next = this.#incoming[0];
    if (next === undefined) return this.#hasEnded ? 0 : -EAGAIN;
    const part = next.subarray(0, bytes);
    into.set(part);
    if (part.length === next.length) this.#incoming.shift();
    else this.#incoming[0] = next.subarray(part.length);
    return part.length;
  }

  send(from: Uint8Array, bytes: number): number {
    if (this.state !== "open") return -EPIPE;
    const count = Math.min(bytes, this.room);
    if (count === 0) return -EAGAIN;
    this.room -= count;
    this.#sent.push(...from.subarray(0, count));
    return count;
  }
}

/** A listening socket. */
export class FakeListener {
  /** What the next accepts give: a connection, or -errno. Then: none waits. */
  readonly queue: (FakeSocket | number)[] = [];
  isClosed = false;

  constructor(readonly fd: number, readonly port: number) {}

  accept(): number {
    const next = this.queue.shift();
    if (next === undefined) return -EAGAIN;
    return typeof next === "number" ? next : next.fd;
  }
}

/** All sockets of a test. */
export class FakeSockets implements Disposable {
  readonly #symbols = native() as unknown as Record<string, unknown>;
  readonly #own = new Map<string, unknown>();
  readonly #sockets = new Map<number, FakeSocket>();
  readonly listeners = new Map<number, FakeListener>();
  #nextFd = FD_FIRST;
  /** What listening gives instead of a descriptor: -errno; 0: it does not fail. */
  listenErrno = 0;

  constructor() {
    this.#replace({
      um_socket_receive: (fd: number, into: Uint8Array, bytes: number) => this.#at(fd).receive(into, bytes),
      um_socket_send: (fd: number, from: Uint8Array, bytes: number) => this.#at(fd).send(from, bytes),
      um_socket_shutdown: (fd: number) => this.#end(fd, "shut"),
      um_socket_reset: (fd: number) => this.#end(fd, "reset"),
      um_socket_close: (fd: number) => this.#end(fd, "closed"),
      um_socket_window: () => 0,
      um_socket_name: (fd: number, _peer: number, into: Uint8Array) => this.#name(fd, into),
      um_tcp_listen: (_address: Uint8Array, port: number) => this.#listen(port),
      um_tcp_accept: (fd: number) => this.listeners.get(fd)!.accept(),
    });
  }

  #replace(functions: Record<string, unknown>): void {
    for (const [name, value] of Object.entries(functions)) {
      this.#own.set(name, this.#symbols[name]);
      Object.defineProperty(this.#symbols, name, { value, configurable: true, writable: true, enumerable: true });
    }
  }

  /** A new connection, of a host at that address. */
  open(name = "10.0.0.9"): FakeSocket {
    const socket = new FakeSocket(this.#nextFd++, name);
    this.#sockets.set(socket.fd, socket);
    return socket;
  }

  #at(fd: number): FakeSocket {
    const socket = this.#sockets.get(fd);
    if (socket === undefined || socket.state === "closed") throw new Error(`Descriptor ${fd} is not open`);
    return socket;
  }

  /** A reset stays one when the descriptor is closed: the host sees it. */
  #end(fd: number, state: FakeSocket["state"]): number {
    const listener = this.listeners.get(fd);
    if (listener !== undefined) listener.isClosed = true;
    else if (this.#at(fd).state !== "reset") this.#at(fd).state = state;
    return 0;
  }

  #name(fd: number, into: Uint8Array): number {
    const listener = this.listeners.get(fd);
    if (listener !== undefined) return listener.port;
    new TextEncoder().encodeInto(`${this.#at(fd).name}\0`, into);
    return 50_000;
  }

  #listen(port: number): number {
    if (this.listenErrno !== 0) return -this.listenErrno;
    const listener = new FakeListener(this.#nextFd++, port === 0 ? 4420 : port);
    this.listeners.set(listener.fd, listener);
    return listener.fd;
  }

  [Symbol.dispose](): void {
    this.#replace(Object.fromEntries(this.#own));
  }
}

/** A poller that looks when the test tells it to. */
export class FakePoller {
  readonly watches = new Set<Watch>();
  /** Why it watches nothing more; null while it does. */
  refusal: UmpathError | null = null;

  /** As those under test take it. */
  get poller(): Poller {
    return this as unknown as Poller;
  }

  add(watch: Watch): void {
    if (this.refusal !== null) throw this.refusal;
    this.watches.add(watch);
  }

  remove(watch: Watch): void {
    this.watches.delete(watch);
  }

  change(_watch: Watch): void {}

  /** Something can be done at all descriptors that are watched. */
  ready(): void {
    for (const watch of [...this.watches]) {
      if (this.watches.has(watch) && (watch.wantsRead || watch.wantsWrite)) watch.onReady();
    }
  }
}
