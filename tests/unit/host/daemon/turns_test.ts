import { assert, assertEquals, assertRejects } from "@std/assert";
import { UmpathError } from "../../../../src/base/errors.ts";
import { Errand } from "../../../../src/host/daemon/errand.ts";
import { Turns } from "../../../../src/host/daemon/turns.ts";

function errand(): Errand {
  return new Errand({ nqn: "nqn.2026-11.io.test:vol", nsid: 1, name: "vol-n1", kind: "attach" });
}

const LEFT = new UmpathError("interrupted", "Called off");

Deno.test("Turns.run() runs what has one key in order, and one at a time, also after a failure", async () => {
  const turns = new Turns();
  const done: string[] = [];
  const work = (name: string) => async () => {
    done.push(`${name} begins`);
    await Promise.resolve();
    done.push(`${name} ends`);
    if (name === "a") throw new Error("a fails");
    return name;
  };
  const first = assertRejects(() => turns.run("k", { what: "a" }, work("a")), Error, "a fails");
  const second = turns.run("k", { what: "b" }, work("b"));
  assertEquals(await second, "b");
  await first;
  assertEquals(done, ["a begins", "a ends", "b begins", "b ends"]);
  await turns.allEnded();
});

Deno.test("Turns.run() lets what is called off leave the line at once, and waits for what is being undone", async () => {
  const turns = new Turns();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const running = errand(), waiting = errand();
  let isUndone = false;
  const first = turns.run("k", { what: "an attach", errand: running }, async () => {
    await released;
    isUndone = true;
    running.check();
  });
  const second = turns.run("k", { what: "an attach", errand: waiting }, () => Promise.reject(new Error("it ran")));
  waiting.callOff(LEFT);
  assertEquals(await second.catch((error) => error), LEFT);
  running.callOff(LEFT);
  const outcome = first.catch((error) => error);
  assert(!isUndone);
  release();
  assertEquals(await outcome, LEFT);
  assert(isUndone);
  assertEquals(await turns.run("k", { what: "an attach" }, () => Promise.resolve(3)), 3);
});

Deno.test("Turns.run() says what it waits for when that takes long", async () => {
  const turns = new Turns();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const told = Promise.withResolvers<string>();
  const first = turns.run("k", { what: "another attach" }, () => released);
  const second = turns.run("k", { what: "a detach", onWait: told.resolve }, () => Promise.resolve());
  assertEquals(await told.promise, "another attach");
  release();
  await Promise.all([first, second]);
});

Deno.test("Errand.unlessOver() gives what the work gives, or why it is over", async () => {
  const one = errand();
  assertEquals(await one.unlessOver(Promise.resolve(1)), 1);
  const never = new Promise<void>(() => {});
  const waiting = one.unlessOver(never).catch((error) => error);
  one.callOff(LEFT);
  one.callOff(new UmpathError("bug", "too late"));
  assertEquals(await waiting, LEFT);
  const failing = one.unlessOver(Promise.reject(new Error("nobody hears this"))).catch((error) => error);
  assertEquals(await failing, LEFT);
});

Deno.test("Errand.heedClient() calls off what the client does not wait for any more", () => {
  const gone = new AbortController();
  const one = errand(), other = errand();
  one.heedClient(gone.signal);
  assert(!one.isOver);
  gone.abort();
  other.heedClient(gone.signal);
  assertEquals([one.isOver, other.isOver], [true, true]);
});
