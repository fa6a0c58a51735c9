import { assertEquals, assertThrows } from "@std/assert";
import { AdminQueueFull, AdminSlots } from "../../../src/nvme_host/admin_slots.ts";
import {
  asyncEventRequestCommand,
  identifyControllerCommand,
  keepAliveCommand,
} from "../../../src/nvme_host/commands.ts";

const SLOTS = 8;
const identify = () => ({ command: identifyControllerCommand() });
const keepAlive = () => ({ command: keepAliveCommand() });
const event = () => ({ command: asyncEventRequestCommand() });

Deno.test("AdminSlots keeps a slot for Keep Alive and one for the event request", () => {
  const slots = new AdminSlots(SLOTS);
  const taken = Array.from({ length: SLOTS - 2 }, () => slots.enter(identify()));
  assertEquals(taken.toSorted(), [2, 3, 4, 5, 6, 7]);
  assertEquals([slots.enter(identify()), slots.enter(keepAlive()), slots.enter(event())], [-1, 0, 1]);
  assertEquals([slots.enter(keepAlive()), slots.enter(event())], [-1, -1]);
});

Deno.test("AdminSlots gives a slot that is free again to who waits longest", () => {
  const slots = new AdminSlots(3);
  const waiting = [identify(), identify()];
  assertEquals(slots.enter(identify()), 2);
  assertEquals(waiting.map((waiter) => slots.enter(waiter)), [-1, -1]);
  assertEquals([slots.leave(2), slots.leave(2), slots.leave(2)], [waiting[0], waiting[1], null]);
  assertEquals(slots.enter(identify()), 2);
});

Deno.test("AdminSlots refuses those that wait without end, and lets all go at the end", () => {
  const slots = new AdminSlots(3);
  slots.enter(identify());
  const waiting = Array.from({ length: 64 }, identify);
  waiting.forEach((waiter) => slots.enter(waiter));
  assertThrows(() => slots.enter(identify()), AdminQueueFull);
  assertEquals(slots.drain(), waiting);
  assertEquals(slots.leave(2), null);
});
