import { native } from "../../ffi/library.ts";
import { check } from "../../ffi/result.ts";
import { assert } from "../base/assert.ts";
import { ENOSPC, errnoWords } from "../base/errno.ts";
import { UmpathError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { heldBackWords, RateLimit } from "../base/rate_limit.ts";
import { Wake } from "./wake.ts";

/** Operations of epoll_ctl(2), and events of epoll(7). */
const Operation = { ADD: 1, REMOVE: 2, CHANGE: 3 } as const;
const EPOLLIN = 0x001;
const EPOLLOUT = 0x004;
const EPOLLONESHOT = 2 ** 30;

/** Events taken at a time; the kernel brings the others with the next call, in turn. */
const EVENTS_MAX = 64;
/** Words of an event: place, generation, what is ready. */
const EVENT_WORDS = 3;
/** The place of the eventfd that ends a wait. */
const WAKE_PLACE = 2 ** 32 - 1;

/** Pause after a wait that failed. */
const RETRY_MS = 10;
/** A failure that lasts is said that often. */
const FAILURE_WORDS = { burst: 1, perMs: 60_000 } as const;

const log = logger("poller");

/** What is watched about one descriptor. `onReady` is called while it is readable or writable as wanted, or in error. */
export interface Watch {
  readonly fd: number;
  wantsRead: boolean;
  wantsWrite: boolean;
  onReady(): void;
}

/** Waits for events of an epoll instance, on another thread: how many there are, or -errno. */
export type Wait = (epoll: number, events: Uint8Array<ArrayBuffer>, max: number) => Promise<number>;

/**
 * Waits for descriptors on behalf of the main thread: one epoll_wait(2) on a thread of the runtime's pool, for as long as
 * anything is watched. It serves the control plane, where a few tens of microseconds are nothing.
 *
 * Watches come, change and go by calls of their own, which hold at once: also while the kernel waits, and whatever their
 * number. A watch has a place, and the place a generation, which both come back with its events: so the events of a watch
 * that has gone meanwhile are known, also if its place or the number of its descriptor is in use again.
 */
export class Poller implements AsyncDisposable {
  readonly #words = new RateLimit(FAILURE_WORDS);
  readonly #wake = new Wake();
  readonly #epoll: number;
  readonly #wait: Wait;
  readonly #events = new Uint32Array(EVENTS_MAX * EVENT_WORDS);
  readonly #places = new Map<Watch, number>();
  /** By place; null for those that are free. */
  readonly #watches: (Watch | null)[] = [];
  /** By place: counts the watches that it has had. */
  readonly #generations: number[] = [];
  /** By place: the events that the kernel waits for. */
  readonly #wanted: number[] = [];
  readonly #free: number[] = [];
  #isRunning = false;
  /** The kernel waits; otherwise what it has brought is dealt with. */
  #isWaiting = false;
  #isOver = false;
  #running: Promise<void> = Promise.resolve();

  /** `wait` wraps the wait, for tests. */
  constructor(options: { wait?: (real: Wait) => Wait } = {}) {
    const real: Wait = native().um_epoll_wait;
    this.#wait = options.wait === undefined ? real : options.wait(real);
    using made = new DisposableStack();
    made.use(this.#wake);
    this.#epoll = check(native().um_epoll(), "Cannot make an epoll instance");
    made.defer(() => native().um_close(this.#epoll));
    check(this.#control(Operation.ADD, this.#wake.fd, EPOLLIN, WAKE_PLACE), "Cannot watch an eventfd");
    made.move();
  }

  #control(operation: number, fd: number, events: number, place: number): number {
    return native().um_epoll_control(this.#epoll, operation, fd, events, place, this.#generations[place] ?? 0);
  }

  /**
   * Watches it from now on.
   *
   * @throws UmpathError "host-lacks" if the kernel watches no more.
   */
  add(watch: Watch): void {
    if (this.#isOver) return;
    assert(!this.#places.has(watch), "A watch is added once");
    const place = this.#free.at(-1) ?? this.#watches.length;
    this.#generations[place] ??= 0;
    const wanted = eventsOf(watch);
    const result = this.#control(Operation.ADD, watch.fd, wanted, place);
    if (result < 0) throw cannotWatch(-result);
    this.#free.pop();
    this.#watches[place] = watch;
    this.#wanted[place] = wanted;
    this.#places.set(watch, place);
    if (!this.#isRunning) this.#running = this.#run();
  }

  /** To be called when a watch wants something else than before. */
  change(watch: Watch): void {
    const place = this.#places.get(watch);
    if (place === undefined) return;
    const wanted = eventsOf(watch);
    if (wanted === this.#wanted[place]) return;
    this.#wanted[place] = wanted;
    check(this.#control(Operation.CHANGE, watch.fd, wanted, place), "Cannot watch a descriptor for something else");
  }

  /** The watch is not called any more; its descriptor may be closed. */
  remove(watch: Watch): void {
    const place = this.#places.get(watch);
    if (place === undefined) return;
    check(this.#control(Operation.REMOVE, watch.fd, 0, place), "Cannot stop to watch a descriptor");
    this.#places.delete(watch);
    this.#watches[place] = null;
    this.#generations[place] = (this.#generations[place]! + 1) >>> 0;
    this.#free.push(place);
    if (this.#isWaiting && this.#places.size === 0) Wake.signal(this.#wake.fd);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    const events = new Uint8Array(this.#events.buffer);
    while (this.#places.size > 0) {
      this.#isWaiting = true;
      const result = await this.#wait(this.#epoll, events, EVENTS_MAX);
      this.#isWaiting = false;
      if (result < 0) await this.#handleFailure(-result);
      else this.#dispatch(result);
    }
    this.#isRunning = false;
  }

  async #handleFailure(errno: number): Promise<void> {
    const heldBack = this.#words.admit(performance.now());
    if (heldBack !== null) log.error(`Cannot wait for sockets: ${errnoWords(errno)}${heldBackWords(heldBack)}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }

  #dispatch(count: number): void {
    for (let at = 0; at < count * EVENT_WORDS; at += EVENT_WORDS) {
      const place = this.#events[at]!;
      if (place === WAKE_PLACE) {
        this.#wake.drain();
        continue;
      }
      if (this.#generations[place] !== this.#events[at + 1]) continue;
      const watch = this.#watches[place]!;
      if (watch.wantsRead || watch.wantsWrite) watch.onReady();
    }
  }

  /** Nothing is watched any more, nor will be. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#places.clear();
    this.#generations.fill(-1);
    if (this.#isWaiting) Wake.signal(this.#wake.fd);
    await this.#running;
    native().um_close(this.#epoll);
    this.#wake[Symbol.dispose]();
  }
}

/** A watch that wants nothing is told of an error once at most, and not for as long as there is one. */
function eventsOf({ wantsRead, wantsWrite }: Watch): number {
  const events = (wantsRead ? EPOLLIN : 0) | (wantsWrite ? EPOLLOUT : 0);
  return events === 0 ? EPOLLONESHOT : events;
}

function cannotWatch(errno: number): UmpathError {
  const message = `Cannot watch a socket: ${errnoWords(errno)}`;
  if (errno !== ENOSPC) return new UmpathError("host-lacks", message);
  return new UmpathError("host-lacks", "Cannot watch a socket: this user watches as many as the kernel lets it", {
    hint: "Raise the limit: sysctl fs.epoll.max_user_watches",
  });
}
