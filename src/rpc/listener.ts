/**
 * The listening end of a control socket: accepts as long as it can, also when descriptors have run out, and listens anew
 * where somebody has removed the socket.
 */
import { EMFILE } from "../base/errno.ts";
import { hostCall, hostError } from "../base/errors.ts";
import { hostErrno } from "../base/host_error.ts";
import { logger } from "../base/log.ts";
import { quote } from "../base/text.ts";
import { heldBackWords, RateLimit } from "../base/rate_limit.ts";

/** Pause after a failed accept, which happens when the process is out of descriptors. */
const ACCEPT_RETRY_MS = 100;
/** The descriptor of a client that was dropped is free after this time. */
const ROOM_MS = 10;
/** How often a failed accept is logged. */
const ACCEPT_WORDS = { burst: 1, perMs: 60_000 } as const;

const log = logger("control");

/** Descriptors that are used only while a client could not be served otherwise. */
export interface DescriptorReserve {
  /** False if it is in use already. */
  useReserve(): boolean;
  keepReserve(): void;
}

/** Where to listen, and what is done with whoever connects. */
export interface ListenerOptions {
  socketPath: string;
  reserve: DescriptorReserve | null;
  accept(socket: Deno.UnixConn): void;
  /** Drops a client that asks for nothing, so that another one can be accepted; false if there is none. */
  makeRoom(): boolean;
}

/** Listens from the moment it is made, instead of whoever did before. */
export class ControlListener {
  readonly #options: ListenerOptions;
  readonly #acceptWords = new RateLimit(ACCEPT_WORDS);
  /** Null once it is closed, and while it moves. */
  #listener: Deno.UnixListener | null;
  #accepting: Promise<void>;
  #inode: number;
  #isMoving = false;
  #isClosed = false;

  /** @throws UmpathError "host-lacks" if the host does not let us. */
  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#listener = listenAt(options.socketPath);
    this.#inode = inodeOf(options.socketPath);
    this.#accepting = this.#acceptAll(this.#listener);
  }

  /**
   * Listens anew if somebody has removed the socket; true if so it was.
   *
   * @throws UmpathError "host-lacks" if the host does not let us; then it may be tried again.
   */
  async listenIfGone(): Promise<boolean> {
    if (this.#isClosed || this.#isMoving || await this.#isInPlace()) return false;
    this.#isMoving = true;
    try {
      // The runtime removes the path when it has closed the listener, whoever listens there by then.
      this.#stop();
      await this.#accepting;
      if (this.#isClosed) return false;
      const listener = listenAt(this.#options.socketPath);
      this.#listener = listener;
      this.#inode = inodeOf(this.#options.socketPath);
      this.#accepting = this.#acceptAll(listener);
      return true;
    } finally {
      this.#isMoving = false;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#stop();
    removeIfThere(this.#options.socketPath);
  }

  async #isInPlace(): Promise<boolean> {
    const info = await Deno.stat(this.#options.socketPath).catch(() => null);
    return this.#listener !== null && info !== null && info.ino === this.#inode;
  }

  #stop(): void {
    const listener = this.#listener;
    this.#listener = null;
    listener?.close();
  }

  async #acceptAll(listener: Deno.UnixListener): Promise<void> {
    while (listener === this.#listener) {
      try {
        this.#options.accept(await listener.accept());
      } catch (error) {
        if (listener !== this.#listener) return;
        await this.#handleNotAccepted(error);
      }
    }
  }

  /** Descriptors have run out, most likely: the reserve is for that, and then the place of a client that is silent. */
  async #handleNotAccepted(error: unknown): Promise<void> {
    const heldBack = this.#acceptWords.admit(performance.now());
    if (heldBack !== null) log.error(`${hostError("Cannot accept a client", error).message}${heldBackWords(heldBack)}`);
    const isOut = hostErrno(error) === EMFILE;
    if (isOut && this.#options.reserve?.useReserve() === true) return;
    const waitMs = isOut && this.#options.makeRoom() ? ROOM_MS : ACCEPT_RETRY_MS;
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

function listenAt(path: string): Deno.UnixListener {
  return hostCall(`Cannot listen at ${quote(path)}`, () => {
    removeIfThere(path);
    const listener = Deno.listen({ transport: "unix", path });
    try {
      Deno.chmodSync(path, 0o600);
    } catch (error) {
      listener.close();
      throw error;
    }
    return listener;
  });
}

function inodeOf(path: string): number {
  return hostCall(`Cannot listen at ${quote(path)}`, () => Deno.statSync(path).ino ?? 0);
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
