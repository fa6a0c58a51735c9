import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { MachineState, SlotStates, slotTable, StateTable } from "../../../src/base/state_table.ts";
import { ADMIN_QUEUE_STATES } from "../../../src/control/admin_queue.ts";
import { FILE_STEPS } from "../../../src/block/file_step.ts";
import { PATH_STATES } from "../../../src/host/driver/volume_path.ts";
import { LOOP_DEVICE_STATES } from "../../../src/loopdev/device.ts";
import { SLOT_STATES } from "../../../src/loopdev/slot_state.ts";
import { KEEP_ALIVE_STATES } from "../../../src/nvme_host/keep_alive.ts";
import { CONTROLLER_STATES } from "../../../src/nvme_target/controller_state.ts";
import { DEVICE_STATES } from "../../../src/ublk/device.ts";
import { TAG_STATES } from "../../../src/ublk/tag_state.ts";

const DOOR = new StateTable<"open" | "closed" | "locked" | "walled up">("A door", {
  open: ["closed"],
  closed: ["open", "locked"],
  locked: ["closed"],
  "walled up": ["open"],
});

Deno.test("MachineState goes where its table lets it, and says from where to where it must not", () => {
  const door = new MachineState(DOOR, "open");
  for (const to of ["closed", "locked", "closed"] as const) door.transition(to);
  assertEquals(door.name, "closed");
  assertThrows(() => door.transition("closed"), AssertionFailure, "A door must not go from closed to closed");
  assertThrows(() => door.transition("walled up"), AssertionFailure, "A door must not go from closed to walled up");
  assertEquals(door.name, "closed");
});

Deno.test("SlotStates keeps a state for each slot", () => {
  const Seat = Object.freeze({ FREE: 0, TAKEN: 1 });
  const seats = new SlotStates(slotTable("Seat", Seat, { FREE: ["TAKEN"], TAKEN: ["FREE"] }), 3);
  seats.transition(1, Seat.TAKEN);
  assertEquals([0, 1, 2].map((slot) => seats.get(slot)), [0, 1, 0]);
  assertThrows(() => seats.transition(1, Seat.TAKEN), AssertionFailure, "Seat 1 must not go from TAKEN to TAKEN");
  assertThrows(() => seats.transition(0, Seat.FREE), AssertionFailure, "Seat 0 must not go from FREE to FREE");
});

Deno.test("slotTable() refuses names without a code, codes without a name, and another order", () => {
  const next = { A: ["B"], B: ["A"] } as const;
  assertThrows(() => slotTable("X", { A: 1, B: 0 }, next), AssertionFailure, "X: A is 1");
  assertThrows(() => slotTable("X", { A: 0 } as Record<string, number>, next), AssertionFailure, "a row for each code");
});

Deno.test("every state of every table can be reached, and every machine can end", () => {
  const all: [table: StateTable<string>, initial: string][] = [
    [FILE_STEPS, "IDLE"],
    [SLOT_STATES, "FREE"],
    [TAG_STATES, "IDLE"],
    ...([[DEVICE_STATES, "added"], [LOOP_DEVICE_STATES, "opened"], [PATH_STATES, "connecting"]] as const).map((
      [table, initial],
    ): [StateTable<string>, string] => [table as unknown as StateTable<string>, initial]),
    [CONTROLLER_STATES as unknown as StateTable<string>, "disabled"],
    [KEEP_ALIVE_STATES as unknown as StateTable<string>, "idle"],
    [ADMIN_QUEUE_STATES as unknown as StateTable<string>, "idle"],
  ];
  for (const [table, initial] of all) assertEquals(table.reachableFrom(initial), table.states, table.what);
  assertEquals(DOOR.reachableFrom("open"), ["open", "closed", "locked"]);
  const ends: [StateTable<string>, string][] = [
    [TAG_STATES, "OVER"],
    ...all.slice(3, 6).map((
      [table],
    ): [StateTable<string>, string] => [table, table.states.at(-1)!]),
  ];
  for (const [table, end] of ends) {
    for (const state of table.states) {
      assertEquals(table.reachableFrom(state).includes(end), true, `${table.what}: ${state}`);
    }
  }
});
