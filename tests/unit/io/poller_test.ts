import { assert, assertEquals, assertThrows } from "@std/assert";
import { native } from "../../../ffi/library.ts";
import { ENOMEM, ENOSPC, EPERM } from "../../../src/base/errno.ts";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { Prng } from "../../../src/base/prng.ts";
import { Poller, type Wait, type Watch } from "../../../src/io/poller.ts";
import { Wake } from "../../../src/io/wake.ts";
import { ReplacedNative } from "./replaced_native.ts";
import { LogLines } from "../serve/log_lines.ts";

/** An eventfd that is watched: readable from a signal on until it is drained. */
class Bell implements Watch, Disposable {
  readonly wake: Wake;
  wantsRead = true;
  wantsWrite = false;
  calls = 0;
  onCalled = () => {};

  constructor(wake = new Wake()) {
    this.wake = wake;
  }

  get fd(): number {
    return this.wake.fd;
  }

  ring(): void {
    Wake.signal(this.fd);
  }

  onReady(): void {
    this.wake.drain();
    this.calls++;
    this.onCalled();
  }

  /** Settles with the next call. */
  get called(): Promise<void> {
    return new Promise((resolve) => this.onCalled = resolve);
  }

  [Symbol.dispose](): void {
    this.wake[Symbol.dispose]();
  }
}

/** Everything that was ready before is told after this: the last wait has begun since. */
async function settled(poller: Poller): Promise<void> {
  using bell = new Bell();
  poller.add(bell);
  for (let i = 0; i < 2; i++) {
    const { called } = bell;
    bell.ring();
    await called;
  }
  poller.remove(bell);
}

/** Lets waits return only when it is open. */
class Gate {
  #isOpen = false;
  readonly #returned = Promise.withResolvers<void>();
  readonly #opened = Promise.withResolvers<void>();

  wait(real: Wait): Wait {
    return async (...args) => {
      const result = await real(...args);
      this.#returned.resolve();
      if (!this.#isOpen) await this.#opened.promise;
      return result;
    };
  }

  /** A wait has returned, and nobody knows. */
  get returned(): Promise<void> {
    return this.#returned.promise;
  }

  open(): void {
    this.#isOpen = true;
    this.#opened.resolve();
  }
}

/** The two ends of a pipe. */
function pipe(): [read: number, write: number] {
  const libc = Deno.dlopen("libc.so.6", { pipe: { parameters: ["buffer"], result: "i32" } });
  const fds = new Int32Array(2);
  const result = libc.symbols.pipe(new Uint8Array(fds.buffer));
  libc.close();
  assertEquals(result, 0);
  return [fds[0]!, fds[1]!];
}

Deno.test("Poller calls a watch as long as it is ready, and not for what it does not want", async () => {
  await using poller = new Poller();
  using bell = new Bell();
  using other = new Bell();
  bell.wantsRead = false;
  poller.add(bell);
  poller.add(other);
  bell.ring();
  await settled(poller);
  assertEquals([bell.calls, other.calls], [0, 0]);
  let drains = false;
  const thrice = Promise.withResolvers<void>();
  bell.onReady = function () {
    if (drains) this.wake.drain();
    if (++this.calls === 3) thrice.resolve();
  };
  bell.wantsRead = true;
  poller.change(bell);
  await thrice.promise;
  drains = true;
  await settled(poller);
  const { calls } = bell;
  await settled(poller);
  assertEquals([bell.calls, other.calls], [calls, 0]);
});

Deno.test("Poller takes changes while the kernel waits: they hold at once", async () => {
  await using poller = new Poller();
  using bell = new Bell();
  using later = new Bell();
  bell.wantsRead = false;
  poller.add(bell);
  bell.ring();
  later.ring();
  await settled(poller);
  const { called } = bell;
  bell.wantsRead = true;
  poller.change(bell);
  await called;
  const { called: laterCalled } = later;
  poller.add(later);
  await laterCalled;
  bell.wantsRead = false;
  poller.change(bell);
  bell.ring();
  poller.remove(later);
  later.ring();
  await settled(poller);
  assertEquals([bell.calls, later.calls], [1, 1]);
  bell.wantsWrite = true; // an eventfd is always writable
  const { called: again } = bell;
  poller.change(bell);
  await again;
  assertEquals(bell.calls, 2);
});

Deno.test("Poller does not call a watch that another one has removed with the same events", async () => {
  const begun = Promise.withResolvers<void>();
  const late = (real: Wait): Wait => async (...args) => {
    await begun.promise;
    return await real(...args);
  };
  await using poller = new Poller({ wait: late });
  using bells = new DisposableStack();
  const all = Array.from({ length: 5 }, () => bells.use(new Bell()));
  for (const bell of all) {
    bell.onCalled = () => all.forEach((each) => poller.remove(each));
    bell.ring();
    poller.add(bell);
  }
  begun.resolve();
  await settled(poller);
  assertEquals(all.reduce((sum, { calls }) => sum + calls, 0), 1);
  const [first] = all;
  const { called } = first!;
  first!.ring();
  poller.add(first!);
  await called;
});

Deno.test("Poller does not take the events of a watch that is gone for those of the next one", async () => {
  const gate = new Gate();
  await using poller = new Poller({ wait: (real) => gate.wait(real) });
  const old = new Bell();
  old.ring();
  poller.add(old);
  await gate.returned;
  const { fd } = old;
  poller.remove(old);
  old[Symbol.dispose]();
  using spare = new DisposableStack();
  let wake = new Wake();
  while (wake.fd !== fd) { // the lowest that is free
    spare.use(wake);
    assert(wake.fd < 1000, "the number of the descriptor is free");
    wake = new Wake();
  }
  using next = new Bell(wake);
  poller.add(next);
  gate.open();
  await settled(poller);
  assertEquals([old.calls, next.calls], [0, 0]);
  const { called } = next;
  next.ring();
  await called;
  assertEquals([old.calls, next.calls], [0, 1]);
  poller.remove(next);
  poller.remove(old);
  await settled(poller);
});

Deno.test("Poller does not call a watch that wants nothing, nor keep the kernel busy with its error", async () => {
  let waits = 0;
  const counted = (real: Wait): Wait => (...args) => {
    waits++;
    return real(...args);
  };
  await using poller = new Poller({ wait: counted });
  const [read, write] = pipe();
  native().um_close(write);
  let calls = 0;
  const done = Promise.withResolvers<void>();
  const watch = {
    fd: read,
    wantsRead: false,
    wantsWrite: false,
    onReady() {
      calls++;
      poller.remove(watch);
      done.resolve();
    },
  };
  poller.add(watch);
  await settled(poller);
  await settled(poller);
  assertEquals(calls, 0);
  assert(waits <= 8, `${waits} waits for four signals and one end of a pipe`);
  watch.wantsRead = true;
  poller.change(watch);
  await done.promise;
  assertEquals(calls, 1);
  native().um_close(read);
});

Deno.test("Poller calls all that are ready, also where there are more than one wait brings", async () => {
  await using poller = new Poller();
  using bells = new DisposableStack();
  const all = Array.from({ length: 200 }, () => bells.use(new Bell()));
  const { promise, resolve } = Promise.withResolvers<void>();
  let missing = all.length;
  for (const bell of all) {
    bell.onCalled = () => --missing === 0 && resolve();
    bell.ring();
    poller.add(bell);
  }
  await promise;
  assertEquals(all.map(({ calls }) => calls), all.map(() => 1));
});

Deno.test("Poller makes no more calls for an event of one in a thousand than for that of one alone", async () => {
  const counts: string[][] = [];
  for (const number of [1, 1000]) {
    const made: string[] = [];
    const noted = (real: Wait): Wait => (epoll, events, max) => {
      made.push(`wait for ${max} in ${events.length} bytes`);
      return real(epoll, events, max);
    };
    await using poller = new Poller({ wait: noted });
    using bells = new DisposableStack();
    const all = Array.from({ length: number }, () => bells.use(new Bell()));
    for (const bell of all) poller.add(bell);
    const bell = all[number >> 1]!;
    made.splice(0);
    using _controls = new ReplacedNative("um_epoll_control", (real, ...args) => {
      made.push("control");
      return real(...args);
    });
    for (let i = 0; i < 10; i++) {
      const { called } = bell;
      bell.ring();
      await called;
    }
    counts.push(made);
  }
  assertEquals(counts[0], Array(10).fill("wait for 64 in 768 bytes"));
  assertEquals(counts[1], counts[0]);
});

Deno.test("Poller.add() says why a descriptor cannot be watched, and watches others", async () => {
  await using poller = new Poller();
  using bell = new Bell();
  const errors = [ENOSPC, EPERM].map((errno) => {
    using _refused = new ReplacedNative("um_epoll_control", () => -errno);
    const { code, message, hint } = assertThrows(() => poller.add(bell), UmpathError);
    return [code, message, hint];
  });
  assertEquals(errors, [
    [
      "host-lacks",
      "Cannot watch a socket: this user watches as many as the kernel lets it",
      "Raise the limit: sysctl fs.epoll.max_user_watches",
    ],
    ["host-lacks", "Cannot watch a socket: operation not permitted", undefined],
  ]);
  const { called } = bell;
  poller.add(bell);
  assertThrows(() => poller.add(bell), AssertionFailure);
  bell.ring();
  await called;
});

Deno.test("Poller tells that it cannot wait once, and goes on when it can", async () => {
  using log = new LogLines();
  using bell = new Bell();
  let failures = 3;
  const failing = (real: Wait): Wait => (...args) => failures-- > 0 ? Promise.resolve(-ENOMEM) : real(...args);
  await using poller = new Poller({ wait: failing });
  const { called } = bell;
  poller.add(bell);
  bell.ring();
  await called;
  assertEquals(log.take(), ["error poller: Cannot wait for sockets: out of memory"]);
});

Deno.test("Poller waits only while there is something to watch", async () => {
  let waiting = 0;
  let ended = Promise.withResolvers<void>();
  const counted = (real: Wait): Wait => async (...args) => {
    waiting++;
    const result = await real(...args);
    waiting--;
    ended.resolve();
    return result;
  };
  await using poller = new Poller({ wait: counted });
  using bell = new Bell();
  using other = new Bell();
  for (let i = 0; i < 3; i++) {
    ended = Promise.withResolvers<void>();
    assertEquals(waiting, 0);
    poller.add(bell);
    poller.add(other);
    assertEquals(waiting, 1);
    poller.remove(bell);
    poller.remove(other);
    await ended.promise;
    await new Promise((resolve) => setTimeout(resolve, 0)); // the poller has seen it too
  }
});

Deno.test("Poller stops when it is disposed of, and leaves no descriptor", async () => {
  const open = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = open();
  for (let i = 0; i < 5; i++) {
    const poller = new Poller();
    using bell = new Bell();
    using late = new Bell();
    poller.add(bell);
    if (i % 2 === 0) bell.ring();
    if (i > 2) poller.remove(bell);
    const disposed = poller[Symbol.asyncDispose]();
    late.ring();
    poller.add(late);
    poller.change(bell);
    poller.remove(bell);
    await disposed;
    await poller[Symbol.asyncDispose]();
    assertEquals([bell.calls, late.calls], [0, 0]);
  }
  {
    await using _unused = new Poller();
  }
  assertEquals(open(), before);
});

Deno.test("Poller calls in a storm those that are watched, wanted and ready, and no others", async () => {
  for (let seed = 1; seed <= 3; seed++) {
    const random = new Prng(seed);
    await using poller = new Poller();
    using bells = new DisposableStack();
    const all = Array.from({ length: 100 }, () => bells.use(new Bell()));
    const watched = new Set<Bell>();
    const wanted = new Set<Bell>();
    const rung = new Set<Bell>();
    for (const bell of all) {
      bell.wantsRead = false;
      bell.onCalled = () => {
        assert(watched.has(bell) && wanted.has(bell), `seed ${seed}: it is watched for that`);
        assert(rung.delete(bell), `seed ${seed}: it is ready`);
      };
    }
    for (let step = 0; step < 3000; step++) {
      const bell = all[random.below(all.length)]!;
      switch (random.below(4)) {
        case 0:
          if (watched.delete(bell)) poller.remove(bell);
          else poller.add((watched.add(bell), bell));
          break;
        case 1:
          if (!wanted.delete(bell)) wanted.add(bell);
          bell.wantsRead = wanted.has(bell);
          poller.change(bell);
          break;
        default:
          if (!rung.has(bell)) bell.ring();
          rung.add(bell);
      }
      if (random.below(50) === 0) await settled(poller);
    }
    await settled(poller);
    await settled(poller);
    for (const bell of rung) assert(!watched.has(bell) || !wanted.has(bell), `seed ${seed}: each was called`);
  }
});
