import { assertEquals } from "@std/assert";
import { ControllerState } from "../../../src/nvme_target/controller_state.ts";

const ON = 0x00460001;
const OFF = 0x00460000;
const NORMAL = 0x4000;
const ABRUPT = 0x8000;

function stateOf({ queues = false, isDiscovery = false } = {}) {
  const world = { queues };
  return { world, state: new ControllerState({ isDiscovery, hasIoQueues: () => world.queues }) };
}

/** Name and CSTS after each value of CC; "closed" closes the I/O queues, "fail" is what it says. */
function walk(orders: readonly (number | "closed" | "fail")[], options = {}): [string, number][] {
  const { state } = stateOf(options);
  return orders.map((order) => {
    if (order === "closed") state.handleIoQueuesClosed();
    else if (order === "fail") state.fail();
    else state.writeCc(order);
    return [state.name, state.csts];
  });
}

Deno.test("ControllerState walks its table without I/O queues", () => {
  assertEquals(walk([ON, OFF, ON]), [["ready", 1], ["disabled", 0], ["ready", 1]]);
  assertEquals(walk([ON, ON | NORMAL, ON | NORMAL]), [["ready", 1], ["shut-down", 9], ["shut-down", 9]]);
  assertEquals(walk([ON | ABRUPT, OFF, ON]), [["shut-down", 9], ["disabled", 0], ["ready", 1]]);
  assertEquals(walk([OFF, OFF | NORMAL, OFF, ON]), [["disabled", 0], ["shut-down", 8], ["disabled", 0], ["ready", 1]]);
  assertEquals(walk([OFF | NORMAL, ON]), [["shut-down", 8], ["ready", 1]]);
  assertEquals(walk(["fail", ON, OFF, ON]), [["fatal", 2], ["fatal", 2], ["disabled", 0], ["ready", 1]]);
});

Deno.test("ControllerState keeps RDY and SHST back until the I/O queues are closed", () => {
  const queues = { queues: true };
  assertEquals(walk([ON, OFF, OFF, "closed"], queues), [["ready", 1], ["disabling", 1], ["disabling", 1], [
    "disabled",
    0,
  ]]);
  assertEquals(walk([ON, ON | NORMAL, "closed", OFF, "closed"], queues), [
    ["ready", 1],
    ["shutting-down", 5],
    ["shut-down", 9],
    ["disabling", 1],
    ["disabled", 0],
  ]);
  assertEquals(walk([ON, ON | NORMAL, OFF, "closed"], queues).slice(2), [["disabling", 1], ["disabled", 0]]);
  assertEquals(walk([ON, OFF, ON, "closed"], queues).slice(2), [["disabling", 1], ["ready", 1]]);
  assertEquals(walk([ON, OFF, ON, OFF, "closed"], queues).slice(3), [["disabling", 1], ["disabled", 0]]);
  assertEquals(walk([ON, "fail", OFF, "closed"], queues).slice(1), [["fatal", 3], ["disabling", 3], ["disabled", 0]]);
  assertEquals(walk([ON, OFF, "fail", "closed"], queues).slice(2), [["fatal", 3], ["fatal", 3]]);
});

Deno.test("ControllerState asks once for the I/O queues to be closed", () => {
  const { state, world } = stateOf();
  state.writeCc(ON);
  world.queues = true;
  assertEquals(state.pollCloseIoQueues(), false);
  state.writeCc(ON | NORMAL);
  assertEquals([state.pollCloseIoQueues(), state.pollCloseIoQueues()], [true, false]);
  state.writeCc(OFF);
  assertEquals(state.pollCloseIoQueues(), false, "they are being closed already");
  world.queues = false;
  state.handleIoQueuesClosed();
  state.writeCc(ON);
  world.queues = true;
  state.fail();
  state.fail();
  assertEquals([state.pollCloseIoQueues(), state.pollCloseIoQueues()], [true, false]);
});

Deno.test("ControllerState is fatal with a configuration that CAP does not offer", () => {
  const cases: [name: string, cc: number, io: string, discovery: string][] = [
    ["no queue entry sizes", 0x00000001, "fatal", "ready"],
    ["SQ entries of 128 bytes", 0x00470001, "fatal", "ready"],
    ["CQ entries of 32 bytes", 0x00560001, "fatal", "ready"],
    ["pages of 8 KiB", ON | (1 << 7), "fatal", "fatal"],
    ["weighted round robin", ON | (1 << 11), "fatal", "fatal"],
    ["all command sets", ON | (6 << 4), "ready", "ready"],
    ["a reserved command set", ON | (3 << 4), "fatal", "fatal"],
    ["no I/O command set", ON | (7 << 4), "fatal", "ready"],
  ];
  for (const [name, cc, io, discovery] of cases) {
    assertEquals(walk([cc]).map(([state]) => state), [io], name);
    assertEquals(walk([cc], { isDiscovery: true }).map(([state]) => state), [discovery], name);
  }
  assertEquals(walk([0x00000001, OFF, ON]), [["fatal", 2], ["disabled", 0], ["ready", 1]]);
});

Deno.test("ControllerState.writeCc() tells a reset, and keeps what was written", () => {
  const { state } = stateOf();
  assertEquals([state.writeCc(ON), state.writeCc(ON | NORMAL), state.writeCc(OFF), state.writeCc(OFF)], [
    false,
    false,
    true,
    false,
  ]);
  state.writeCc(0xffffffff);
  assertEquals(state.cc, 0xffffffff);
});
