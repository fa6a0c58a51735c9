import { assertEquals, assertRejects } from "@std/assert";
import { type QueueControl, runControl } from "../../../../src/host/device/ublk_driver.ts";
import type { ControlSequence, ControlStep, UblkDevice } from "../../../../src/ublk/control.ts";

const DEVICE = {} as UblkDevice;
const startQueues: ControlStep = { kind: "start-queues", device: DEVICE, deadlineMs: 50 };
const drainQueues: ControlStep = { kind: "drain-queues", device: DEVICE, deadlineMs: 50 };

function control(more: Partial<QueueControl>): QueueControl {
  return { startQueues: () => Promise.resolve(), drainQueues: () => Promise.resolve(), ...more };
}

Deno.test("runControl() throws into the sequence what its driver throws, so that it can undo what it did", async () => {
  const seen: string[] = [];
  function* sequence(): ControlSequence<void> {
    try {
      yield startQueues;
    } catch (error) {
      seen.push((error as Error).message);
      yield drainQueues;
      seen.push("undone");
      throw error;
    }
  }
  const queues = control({ startQueues: () => Promise.reject(new Error("the path is lost")) });
  await assertRejects(() => runControl(sequence(), queues), Error, "the path is lost");
  assertEquals(seen, ["the path is lost", "undone"]);
});

Deno.test("runControl() gives -ETIMEDOUT for a step that takes too long, and does not mind how it ends later", async () => {
  function* sequence(): ControlSequence<number> {
    return (yield startQueues).result;
  }
  const late = Promise.withResolvers<void>();
  assertEquals(await runControl(sequence(), control({ startQueues: () => late.promise })), -110);
  late.reject(new Error("too late"));
  await new Promise((resolve) => setTimeout(resolve, 0));
});
