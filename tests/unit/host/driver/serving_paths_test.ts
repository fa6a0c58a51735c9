import { assertEquals } from "@std/assert";
import type { AnaStateName } from "../../../../src/rpc/host_api.ts";
import type { ControllerSession } from "../../../../src/host/driver/controller_session.ts";
import {
  notServing,
  OPENING_STALL_MS,
  OpeningWatch,
  servingFirst,
  settleAna,
} from "../../../../src/host/driver/serving_paths.ts";

function opened(ana: AnaStateName | null) {
  return { session: ana === null ? null : { ana } as unknown as ControllerSession };
}

/** Timers that run when they are told to. */
function manualTimers(): Disposable & { pending: Map<number, { run: () => void; ms: number }> } {
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const pending = new Map<number, { run: () => void; ms: number }>();
  let last = 0;
  Object.assign(globalThis, {
    setTimeout: (run: () => void, ms: number) => (pending.set(++last, { run, ms }), last),
    clearTimeout: (id: number) => pending.delete(id),
  });
  return { pending, [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout: set, clearTimeout: clear }) };
}

Deno.test("servingFirst() puts the paths first that serve I/O, and keeps their order otherwise", () => {
  const paths = ([null, "inaccessible", "non-optimized", "persistent-loss", "optimized", "change"] as const).map(
    opened,
  );
  assertEquals(servingFirst(paths).map((path) => paths.indexOf(path)), [2, 4, 0, 1, 3, 5]);
});

Deno.test("settleAna() waits for a path that is about to serve, and for no other", async () => {
  await settleAna([opened(null), opened("inaccessible")], () => false);
  await settleAna([opened("change"), opened("optimized")], () => false);
  const changing = { session: { ana: "change" } as unknown as ControllerSession };
  let looks = 0;
  await settleAna([changing], () => {
    if (++looks === 2) Object.assign(changing.session, { ana: "optimized" });
    return false;
  });
  assertEquals(looks, 2);
  await settleAna([opened("change")], () => true);
});

Deno.test("notServing() names the path and its ANA state, as one that may serve later", () => {
  const spec = { transport: "tcp", traddr: "192.0.2.1", trsvcid: 4420, hostTraddr: null, hostIface: null } as const;
  const failure = notServing(spec, "persistent-loss");
  const words = 'Cannot do I/O over "192.0.2.1:4420": the namespace is in persistent loss there (ANA)';
  assertEquals([failure.code, failure.message, failure.isFinal], ["unreachable", words, false]);
});

Deno.test("OpeningWatch tells once no path has served for too long without a break, and not after its end", () => {
  using timers = manualTimers();
  let stalls = 0;
  {
    using watch = new OpeningWatch(() => stalls++);
    watch.handlePaths(true);
    assertEquals(timers.pending.size, 0);
    watch.handlePaths(false);
    watch.handlePaths(false);
    assertEquals([...timers.pending.values()].map(({ ms }) => ms), [OPENING_STALL_MS], "the first loss counts");
    watch.handlePaths(true);
    assertEquals(timers.pending.size, 0);
    watch.handlePaths(false);
    timers.pending.values().next().value!.run();
    assertEquals(stalls, 1);
    watch.handlePaths(true);
    watch.handlePaths(false);
  }
  assertEquals(timers.pending.size, 0);
});
