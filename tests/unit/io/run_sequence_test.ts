import { assertEquals } from "@std/assert";
import { ETIMEDOUT } from "../../../src/base/errno.ts";
import { within } from "../../../src/io/run_sequence.ts";

Deno.test("within() gives what the work gives, and calls nothing for work that is in time", async () => {
  const called: string[] = [];
  const options = { deadlineMs: 60_000, onSlow: () => called.push("slow"), onLate: () => called.push("late") };
  assertEquals(await within(Promise.resolve(7), options), 7);
  assertEquals(called, []);
});

Deno.test("within() gives -ETIMEDOUT for work that is late, and hands over what it gives in the end", async () => {
  const work = Promise.withResolvers<number>();
  const late = Promise.withResolvers<number>();
  assertEquals(await within(work.promise, { deadlineMs: 1, onLate: late.resolve }), -ETIMEDOUT);
  work.resolve(12);
  assertEquals(await late.promise, 12);
});

Deno.test("within() says that work takes long while it lasts", async () => {
  const slow = Promise.withResolvers<void>();
  const work = Promise.withResolvers<number>();
  const result = within(work.promise, { deadlineMs: 60_000, onSlow: slow.resolve });
  await slow.promise;
  work.resolve(0);
  assertEquals(await result, 0);
});
