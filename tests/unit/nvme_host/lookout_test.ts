import { assert, assertEquals } from "@std/assert";
import { Lookout, type LookoutOptions, type LookoutOrder } from "../../../src/nvme_host/lookout.ts";

function lookout(more: Partial<LookoutOptions> = {}): Lookout {
  return new Lookout({ hasEvents: true, reportsAna: true, anaTransitionSeconds: 0, nowMs: 0, ...more });
}

/** All that is to be done now. */
function orders(plan: Lookout, nowMs: number): LookoutOrder[] {
  const given: LookoutOrder[] = [];
  for (let order = plan.poll(nowMs); order !== "idle"; order = plan.poll(nowMs)) given.push(order);
  return given;
}

Deno.test("Lookout asks for one event at a time, and for the next after a pause that grows", () => {
  const plan = lookout();
  assertEquals([orders(plan, 0), plan.nextDeadlineMs], [["ask"], 60_000]);
  const pauses: number[] = [];
  for (let nowMs = 0; pauses.length < 9;) {
    plan.handleEvent(nowMs);
    pauses.push(plan.nextDeadlineMs - nowMs);
    assertEquals(orders(plan, plan.nextDeadlineMs - 1), []);
    nowMs = plan.nextDeadlineMs;
    assertEquals(orders(plan, nowMs), ["ask"]);
  }
  assertEquals(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
  plan.handleEvent(100_000);
  assertEquals([orders(plan, 100_009), plan.nextDeadlineMs], [["ana"], 100_010], "after a quiet time");
});

Deno.test("Lookout asks again after errors, and looks for what would have been told", () => {
  const plan = lookout();
  orders(plan, 0);
  plan.handleRefusal(60_000);
  assertEquals([plan.refusals, orders(plan, 60_000)], [1, ["ana", "namespace"]]);
  plan.handleLooked("ana", true, 60_000);
  plan.handleLooked("namespace", true, 60_000);
  const looks: number[] = [];
  const asks: number[] = [];
  for (let nowMs = 60_000; nowMs < 90_000; nowMs = plan.nextDeadlineMs) {
    for (const order of orders(plan, nowMs)) {
      if (order === "ask") {
        asks.push(nowMs);
        plan.handleRefusal(nowMs);
      } else if (order !== "idle") {
        if (order === "ana") looks.push(nowMs);
        plan.handleLooked(order, true, nowMs);
      }
    }
  }
  assertEquals(asks.slice(0, 4), [60_010, 60_030, 60_070, 60_150]);
  assertEquals(asks.at(-1)! - asks.at(-2)!, 5_000);
  assert(looks.every((ms, i) => i === 0 || ms - looks[i - 1] >= 5_000 && ms - looks[i - 1] <= 10_000), looks.join());
  assert(looks.length >= 3, looks.join());
  const refusals = plan.refusals;
  assert(refusals > 8);
  orders(plan, 100_000);
  plan.handleEvent(200_000);
  assertEquals(plan.refusals, 0);
});

Deno.test("Lookout looks every few seconds at a controller without events", () => {
  const plan = lookout({ hasEvents: false });
  assertEquals([orders(plan, 0), plan.nextDeadlineMs], [[], 5_000]);
  assertEquals(orders(plan, 5_000), ["ana", "namespace"]);
  assertEquals(plan.nextDeadlineMs, Infinity, "each is under way once");
  plan.handleLooked("ana", true, 5_100);
  plan.handleLooked("namespace", true, 5_200);
  assertEquals(plan.nextDeadlineMs, 10_100);
});

Deno.test("Lookout looks at a path that serves no I/O, as often as a transition may take", () => {
  for (const [anaTransitionSeconds, everyMs] of [[3, 3_000], [0, 10_000]]) {
    const plan = lookout({ anaTransitionSeconds });
    orders(plan, 0);
    plan.setServing(false);
    assertEquals([plan.nextDeadlineMs, orders(plan, everyMs)], [everyMs, ["ana", "namespace"]]);
    plan.handleLooked("ana", true, everyMs);
    plan.handleLooked("namespace", true, everyMs);
    assertEquals(plan.nextDeadlineMs, 2 * everyMs);
    plan.setServing(true);
    assertEquals(plan.nextDeadlineMs, everyMs + 60_000);
  }
});

Deno.test("Lookout looks once a minute at the ANA log of a path that serves I/O, and not at its namespace", () => {
  const plan = lookout();
  orders(plan, 0);
  const looks: [LookoutOrder, number][] = [];
  for (let nowMs = 0; nowMs < 200_000; nowMs = plan.nextDeadlineMs) {
    for (const order of orders(plan, nowMs)) {
      looks.push([order, nowMs]);
      plan.handleLooked("ana", true, nowMs + 5);
    }
  }
  assertEquals(looks, [["ana", 60_000], ["ana", 120_005], ["ana", 180_010]]);
});

Deno.test("Lookout repeats a look that failed after a pause that grows, and one that was wanted during another", () => {
  const plan = lookout();
  orders(plan, 0);
  plan.want("ana", 1);
  assertEquals(orders(plan, 1), ["ana"]);
  plan.want("ana", 2);
  plan.want("ana", 3);
  assertEquals(orders(plan, 3), []);
  plan.handleLooked("ana", true, 4);
  assertEquals(orders(plan, 4), ["ana"]);
  const pauses: number[] = [];
  for (let nowMs = 5; pauses.length < 8;) {
    plan.handleLooked("ana", false, nowMs);
    pauses.push(plan.nextDeadlineMs - nowMs);
    nowMs = plan.nextDeadlineMs;
    assertEquals(orders(plan, nowMs), ["ana"]);
  }
  assertEquals(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  plan.handleLooked("ana", true, 1e6);
  assertEquals(plan.nextDeadlineMs, 1e6 + 60_000);
});

Deno.test("Lookout has no ANA log to look at where ANA is not reported", () => {
  const plan = lookout({ hasEvents: false, reportsAna: false });
  plan.want("ana", 0);
  assertEquals([orders(plan, 0), orders(plan, 5_000)], [[], ["namespace"]]);
});
