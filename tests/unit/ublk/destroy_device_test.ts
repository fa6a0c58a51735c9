import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EBUSY, EINVAL, EIO, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ETIMEDOUT } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { UblkDeviceState, UblkDevInfo } from "../../../src/protocol/ublk.ts";
import { createDevice, destroyDevice, removeStaleDevice, type UblkDevice } from "../../../src/ublk/control.ts";
import { encodeDeviceInfo } from "../../../src/ublk/device_info.ts";
import { FakeControl, type Script } from "./fake_control.ts";
import { makeGeometry } from "./fake_kernel.ts";

function makeLive(script: Script = {}, features = (1n << 20n) - 1n): { control: FakeControl; device: UblkDevice } {
  const control = new FakeControl(script);
  control.features = features;
  const device = control.run(
    createDevice({ geometry: makeGeometry(), queues: 1, depth: 8, maxIoBytes: 4096, pid: 9 }),
  );
  control.trace.length = 0;
  return { control, device };
}

const RELEASE = ["drain-queues", "close-char-device"];
const WITHOUT_SAFE_STOP = 1n << 6n;

const ORDERLY: [name: string, script: Script, features: bigint, force: boolean, trace: string[]][] = [
  ["tries to stop first", {}, 1n << 17n, false, ["TRY_STOP_DEV", "STOP_DEV", ...RELEASE, "GET_DEV_INFO", "DEL_DEV"]],
  ["stops where it cannot try", {}, WITHOUT_SAFE_STOP, false, ["STOP_DEV", ...RELEASE, "GET_DEV_INFO", "DEL_DEV"]],
  ["forced, neither tries nor waits for openers", {}, 1n << 17n, true, [
    "STOP_DEV",
    ...RELEASE,
    "GET_DEV_INFO",
    "DEL_DEV_ASYNC",
  ]],
  [
    "forced, waits where the driver cannot do without",
    { DEL_DEV_ASYNC: -EOPNOTSUPP },
    WITHOUT_SAFE_STOP,
    true,
    ["STOP_DEV", ...RELEASE, "GET_DEV_INFO", "DEL_DEV_ASYNC", "DEL_DEV"],
  ],
  [
    "goes on when TRY_STOP_DEV is not known after all",
    { TRY_STOP_DEV: -EINVAL },
    1n << 17n,
    false,
    ["TRY_STOP_DEV", "STOP_DEV", ...RELEASE, "GET_DEV_INFO", "DEL_DEV"],
  ],
];

for (const [name, script, features, force, trace] of ORDERLY) {
  Deno.test(`destroyDevice() ${name}`, () => {
    const { control, device } = makeLive(script, features);
    assertEquals(control.run(destroyDevice(device, { force })), []);
    assertEquals([control.trace, control.isClean, device.state, device.charFd], [trace, true, "deleted", -1]);
    assertThrows(() => control.run(destroyDevice(device)), AssertionFailure, "from deleted to stopping");
  });
}

Deno.test("destroyDevice() leaves a device that is open as it was", () => {
  const { control, device } = makeLive();
  control.openers = 1;
  const error = assertThrows(
    () => control.run(destroyDevice(device)),
    UmpathError,
    "Cannot stop /dev/ublkb7: it is open",
  );
  assertEquals([error.code, device.state, control.live, control.trace], ["in-use", "live", true, ["TRY_STOP_DEV"]]);
  control.openers = 0;
  control.run(destroyDevice(device));
  assertEquals(control.isClean, true);
});

Deno.test("destroyDevice() can be tried again when I/O did not end in time", () => {
  const { control, device } = makeLive({ STOP_DEV: [-ETIMEDOUT] }, WITHOUT_SAFE_STOP);
  const error = assertThrows(() => control.run(destroyDevice(device)), UmpathError, "I/O is still in flight");
  assertEquals([error.code, device.state, control.trace], ["timed-out", "stopping", ["STOP_DEV"]]);
  control.run(destroyDevice(device, { stopDeadlineMs: 60_000 }));
  assertEquals([device.state, control.isClean], ["deleted", true]);
  assertEquals(control.steps.at(-5)!.deadlineMs, 60_000);
});

Deno.test("destroyDevice() can be tried again when the device stays open", () => {
  const { control, device } = makeLive({ DEL_DEV: [-ETIMEDOUT] }, WITHOUT_SAFE_STOP);
  const error = assertThrows(() => control.run(destroyDevice(device)), UmpathError, "it is still open");
  assertEquals([error.code, device.state], ["timed-out", "stopped"]);
  control.trace.length = 0;
  control.run(destroyDevice(device));
  assertEquals([control.trace, device.state], [["GET_DEV_INFO", "DEL_DEV"], "deleted"]);
});

Deno.test("destroyDevice() never deletes a device that was made under the same number since", () => {
  const shape = { devId: 7, queues: 1, depth: 8, maxIoBytes: 4096, features: 0n };
  for (const other of [{ pid: 9, serial: 1 }, { pid: 10 }]) {
    for (const force of [false, true]) {
      const { control, device } = makeLive();
      control.info = encodeDeviceInfo({ ...shape, ...other });
      control.run(destroyDevice(device, { force }));
      assertEquals([device.state, control.info !== null, control.trace.at(-1)], ["deleted", true, "GET_DEV_INFO"]);
    }
  }
});

Deno.test("destroyDevice() is done with a device that is gone already", () => {
  const { control, device } = makeLive({ STOP_DEV: -ENODEV, DEL_DEV: -ENODEV }, WITHOUT_SAFE_STOP);
  control.live = false;
  assertEquals(control.run(destroyDevice(device)), []);
  assertEquals(device.state, "deleted");
  const forced = makeLive({ DEL_DEV_ASYNC: -ENODEV }, WITHOUT_SAFE_STOP);
  forced.control.run(destroyDevice(forced.device, { force: true }));
  assertEquals(forced.control.trace.at(-1), "DEL_DEV_ASYNC");
});

Deno.test("destroyDevice() tells what went wrong on the way to a deleted device", () => {
  const { control, device } = makeLive({ "close-char-device": -EIO }, WITHOUT_SAFE_STOP);
  control.charOpen = false;
  const warnings = control.run(destroyDevice(device));
  assertEquals(warnings.map((warning) => warning.message), [
    "Cannot close /dev/ublkb7: input/output error",
  ]);
  assertEquals(device.state, "deleted");
});

Deno.test("destroyDevice() fails with the driver's words", () => {
  const script = { DEL_DEV: -EPERM, DEL_DEV_ASYNC: -EBUSY };
  for (const [force, code] of [[false, "host-lacks"], [true, "host-lacks"]] as const) {
    const { control, device } = makeLive(script, WITHOUT_SAFE_STOP);
    const error = assertThrows(() => control.run(destroyDevice(device, { force })), UmpathError, "Cannot delete");
    assertEquals([error.code, device.state], [code, "stopped"]);
  }
});

const OWNER = 321;
const SERVER = { pid: OWNER, start: "4711" };

function makeStale(script: Script = {}, state: number = UblkDeviceState.DEAD): FakeControl {
  const control = new FakeControl(script);
  const shape = { queues: 1, depth: 8, maxIoBytes: 4096, features: 0n };
  control.info = encodeDeviceInfo({ devId: 7, ...shape, pid: OWNER });
  new DataView(control.info.buffer as ArrayBuffer).setUint16(UblkDevInfo.state, state, true);
  return control;
}

Deno.test("removeStaleDevice() removes a device whose server is gone", () => {
  const dead = makeStale();
  assertEquals(dead.run(removeStaleDevice(7, SERVER)), "removed");
  assertEquals(dead.trace, ["open-control", "GET_FEATURES", "GET_DEV_INFO", "server-runs", "DEL_DEV"]);
  const quiesced = makeStale({}, UblkDeviceState.QUIESCED);
  assertEquals(quiesced.run(removeStaleDevice(7, SERVER)), "removed");
  assertEquals(quiesced.trace.slice(-2), ["STOP_DEV", "DEL_DEV"]);
  assert(dead.isClean && quiesced.isClean);
});

Deno.test("removeStaleDevice() does not take a process that was given the number later for the server", () => {
  const recycled = makeStale();
  recycled.alivePids = [OWNER];
  recycled.starts.set(OWNER, "9999");
  assertEquals(recycled.run(removeStaleDevice(7, SERVER)), "removed");
});

Deno.test("removeStaleDevice() does not wait for a user of the device unless told to", () => {
  const control = makeStale();
  assertEquals(control.run(removeStaleDevice(7, SERVER, { waits: false })), "removed");
  assertEquals(control.trace.at(-1), "DEL_DEV_ASYNC");
});

Deno.test("removeStaleDevice() works with a driver without GET_FEATURES", () => {
  const control = makeStale();
  control.features = null;
  assertEquals(control.run(removeStaleDevice(7, SERVER)), "removed");
});

Deno.test("removeStaleDevice() leaves alone what is not proved to be left behind", () => {
  assertEquals(new FakeControl().run(removeStaleDevice(7, SERVER)), "absent");
  const alive = makeStale();
  alive.alivePids = [OWNER];
  const other = makeStale();
  const unmarked = makeStale();
  unmarked.info!.fill(0, UblkDevInfo.ublksrvFlags, UblkDevInfo.ublksrvFlags + 8);
  const unsure = makeStale({ "server-runs": -EPERM });
  const rows = [[alive, OWNER, "alive"], [other, 1, "foreign"], [unmarked, OWNER, "foreign"], [unsure, OWNER, "alive"]];
  for (const [control, pid, outcome] of rows as [FakeControl, number, string][]) {
    assertEquals([control.run(removeStaleDevice(7, { ...SERVER, pid })), control.isClean], [outcome, false]);
    assertEquals(control.trace.includes("DEL_DEV"), false);
  }
});

Deno.test("removeStaleDevice() fails with words when the driver cannot be asked, or does not remove it", () => {
  const rows: [Script, string][] = [
    [{ "open-control": -ENOENT }, "has no ublk driver"],
    [{ GET_DEV_INFO: -EPERM }, "Cannot ask about /dev/ublkb7"],
    [{ DEL_DEV: -ETIMEDOUT }, "it is still open"],
  ];
  for (const [script, words] of rows) {
    assertThrows(() => makeStale(script).run(removeStaleDevice(7, SERVER)), UmpathError, words);
  }
  const raced = makeStale({ DEL_DEV: -ENODEV });
  assertEquals(raced.run(removeStaleDevice(7, SERVER)), "removed");
});
