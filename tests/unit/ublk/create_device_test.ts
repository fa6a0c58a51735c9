import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import {
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  EIO,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  EPERM,
  ETIMEDOUT,
} from "../../../src/base/errno.ts";
import { type ErrorCode, UmpathError } from "../../../src/base/errors.ts";
import { UblkFeature } from "../../../src/protocol/ublk.ts";
import { type CommandStep, createDevice, type CreateOptions } from "../../../src/ublk/control.ts";
import { decodeDeviceInfo } from "../../../src/ublk/device_info.ts";
import { decodeParameters } from "../../../src/ublk/parameters.ts";
import { FakeControl, type Script } from "./fake_control.ts";
import { makeGeometry } from "./fake_kernel.ts";

const OPTIONS: CreateOptions = { geometry: makeGeometry(), queues: 4, depth: 128, maxIoBytes: 512 * 1024, pid: 4242 };

const PROBE = ["open-control", "GET_FEATURES"];
const BRING_UP = ["SET_PARAMS", "wait-node", "open-char-device", "start-queues", "START_DEV", "wait-node"];
const CREATE = [...PROBE, "ADD_DEV", ...BRING_UP];

function command(control: FakeControl, name: string): CommandStep {
  const step = control.steps.find((step) => step.kind === "command" && step.name === name);
  if (step?.kind !== "command") throw new Error(`${name} was not sent`);
  return step;
}

function failure(control: FakeControl, options: Partial<CreateOptions> = {}): UmpathError {
  return assertThrows(() => control.run(createDevice({ ...OPTIONS, ...options })), UmpathError);
}

Deno.test("createDevice() makes a device step by step", () => {
  const control = new FakeControl();
  const device = control.run(createDevice(OPTIONS));
  assertEquals(control.trace, CREATE);
  assertEquals([device.devId, device.queues, device.depth, device.maxIoBytes], [7, 4, 128, 512 * 1024]);
  assertEquals([device.charPath, device.blockPath, device.charFd], ["/dev/ublkc7", "/dev/ublkb7", 33]);
  assertEquals([device.state, device.ioctlEncode], ["live", true]);
  assertEquals([command(control, "START_DEV").data0, command(control, "START_DEV").devId], [4242n, 7]);
  const nodes = control.steps.filter((step) => step.kind === "wait-node").map((step) => step.path);
  assertEquals(nodes, ["/dev/ublkc7", "/dev/ublkb7"]);
});

Deno.test("createDevice() asks for the features that it wants and the driver has, and marks the device", () => {
  const rows: [offered: bigint, wanted: bigint | undefined, asked: bigint][] = [
    [
      (1n << 20n) - 1n,
      undefined,
      UblkFeature.CMD_IOCTL_ENCODE | UblkFeature.SAFE_STOP_DEV | UblkFeature.UPDATE_SIZE,
    ],
    [UblkFeature.CMD_IOCTL_ENCODE | UblkFeature.USER_COPY, undefined, UblkFeature.CMD_IOCTL_ENCODE],
    [UblkFeature.USER_RECOVERY, UblkFeature.USER_RECOVERY | UblkFeature.ZONED, UblkFeature.USER_RECOVERY],
    [0n, undefined, 0n],
  ];
  for (const [offered, wanted, asked] of rows) {
    const control = new FakeControl();
    control.features = offered;
    control.run(createDevice({ ...OPTIONS, ...(wanted === undefined ? {} : { features: wanted }) }));
    const info = decodeDeviceInfo(control.info!);
    assertEquals([info.features, info.ownerPid, info.serverPid], [asked, 4242, 4242]);
  }
});

Deno.test("createDevice() uses legacy command numbers and no features without GET_FEATURES", () => {
  for (const errno of [EINVAL, ENODEV, 95, 524]) {
    const control = new FakeControl({ GET_FEATURES: -errno });
    control.features = null;
    const device = control.run(createDevice(OPTIONS));
    assertEquals([device.ioctlEncode, device.features, command(control, "ADD_DEV").op], [false, 0n, 4]);
  }
});

Deno.test("createDevice() takes the number that is asked for and the shape that the driver gives", () => {
  const control = new FakeControl();
  control.granted = { queues: 2, depth: 64, maxIoBytes: 65536 };
  const device = control.run(createDevice({ ...OPTIONS, devId: 3 }));
  assertEquals([device.blockPath, device.queues, device.depth, device.maxIoBytes], ["/dev/ublkb3", 2, 64, 65536]);
  assertEquals(decodeParameters(command(control, "SET_PARAMS").buffer!).maxSectors, 128);
});

Deno.test("createDevice() removes a device whose shape it has no buffers for", () => {
  for (const granted of [{ queues: 0 }, { queues: 5 }, { depth: 129 }, { depth: 0 }, { maxIoBytes: 2 ** 20 }]) {
    const control = new FakeControl();
    control.granted = granted;
    assertEquals(failure(control).code, "host-lacks");
    assertEquals(control.trace, [...PROBE, "ADD_DEV", ...DELETE]);
  }
});

Deno.test("createDevice() removes a device that takes less than a page", () => {
  const control = new FakeControl();
  control.granted = { maxIoBytes: 512 };
  assertEquals(failure(control).code, "refused");
  assertEquals(control.trace, [...PROBE, "ADD_DEV", ...DELETE]);
});

Deno.test("createDevice() refuses a geometry before it asks the driver anything", () => {
  const control = new FakeControl();
  const error = failure(control, { geometry: makeGeometry({ blockSize: 520 }) });
  assertEquals([error.code, control.trace], ["refused", []]);
  for (const options of [{ queues: 0 }, { queues: 4097 }, { depth: 0 }, { depth: 4097 }, { pid: 0 }]) {
    assertThrows(() => control.run(createDevice({ ...OPTIONS, ...options })), AssertionFailure);
  }
});

Deno.test("createDevice() opens the character device when its node is there and udev lets go of it", () => {
  const control = new FakeControl({ "open-char-device": [-ENOENT, -EBUSY, -EACCES] });
  control.run(createDevice(OPTIONS));
  assertEquals(control.trace.filter((name) => name === "open-char-device").length, 4);
  assertEquals(control.pauses, 3);
});

const DELETE = ["GET_DEV_INFO", "DEL_DEV"];
const CLOSE = ["close-char-device", ...DELETE];
const STOP = ["STOP_DEV", "drain-queues", ...CLOSE];

const FAILURES: [script: Script, code: ErrorCode, words: string, trace: string[]][] = [
  [{ "open-control": -ENOENT }, "host-lacks", "has no ublk driver", CREATE.slice(0, 1)],
  [{ "open-control": -EACCES }, "host-lacks", "no right", CREATE.slice(0, 1)],
  [{ GET_FEATURES: -EPERM }, "host-lacks", "no right", CREATE.slice(0, 2)],
  [{ ADD_DEV: -EPERM }, "host-lacks", "no right", CREATE.slice(0, 3)],
  [{ ADD_DEV: -EACCES }, "host-lacks", "as many devices as it may have", CREATE.slice(0, 3)],
  [{ ADD_DEV: -EEXIST }, "in-use", "that number", CREATE.slice(0, 3)],
  [{ ADD_DEV: -ENOSPC }, "in-use", "no device number is free", CREATE.slice(0, 3)],
  [{ ADD_DEV: -ENOMEM }, "host-lacks", "out of memory", CREATE.slice(0, 3)],
  [{ ADD_DEV: -ETIMEDOUT }, "timed-out", "the ublk driver did not answer within 10s", CREATE.slice(0, 3)],
  [{ SET_PARAMS: -EINVAL }, "bug", "refuses the parameters", [...CREATE.slice(0, 4), ...DELETE]],
  [{ "wait-node": -ETIMEDOUT }, "timed-out", "node does not appear", [...CREATE.slice(0, 5), ...DELETE]],
  [{ "open-char-device": -EIO }, "host-lacks", "input/output error", [...CREATE.slice(0, 6), ...DELETE]],
  [{ "start-queues": -ENOMEM }, "host-lacks", "Cannot serve /dev/ublkb7", [...CREATE.slice(0, 7), ...STOP]],
  [{ "start-queues": -ETIMEDOUT }, "timed-out", "do not come up in time", [...CREATE.slice(0, 7), ...STOP]],
  [{ START_DEV: -EINVAL }, "host-lacks", "does not take this process", [...CREATE.slice(0, 8), ...STOP]],
  [{ START_DEV: -ETIMEDOUT }, "timed-out", "took too long", [...CREATE.slice(0, 8), ...STOP]],
  [{ "wait-node": [0, -ETIMEDOUT] }, "timed-out", "Cannot find /dev/ublkb7", [...CREATE, ...STOP]],
];

for (const [script, code, words, trace] of FAILURES) {
  Deno.test(`createDevice() undoes what it did after ${JSON.stringify(script)}`, () => {
    const control = new FakeControl(script);
    const error = failure(control);
    assertEquals([error.code, control.trace, control.isClean], [code, trace, true]);
    assert(error.message.includes(words), error.message);
  });
}

Deno.test("createDevice() says after a timeout what to look at, and the kernel that it needs", () => {
  assertStringIncludes(failure(new FakeControl({ "start-queues": -ETIMEDOUT })).hint ?? "", "daemon's log");
  for (const step of ["ADD_DEV", "start-queues", "START_DEV"]) {
    const { hint } = failure(new FakeControl({ [step]: -ETIMEDOUT }));
    assertStringIncludes(hint ?? "", "dmesg");
    assert(!/reboot/.test(hint ?? ""), hint);
  }
  assertStringIncludes(failure(new FakeControl({ "open-control": -ENOENT })).hint ?? "", "Linux 6.1");
});

Deno.test("createDevice() gives up a character device that stays busy", () => {
  const control = new FakeControl({ "open-char-device": -EBUSY });
  const error = failure(control);
  assertEquals([error.code, control.pauses, control.trace.at(-1), control.isClean], ["in-use", 39, "DEL_DEV", true]);
});

Deno.test("createDevice() goes on undoing when that fails, and says both", () => {
  const control = new FakeControl({
    START_DEV: -EINVAL,
    STOP_DEV: -ETIMEDOUT,
    "drain-queues": -ETIMEDOUT,
    "close-char-device": -EIO,
    DEL_DEV: -EPERM,
  });
  const error = failure(control);
  assertEquals([error.code, control.trace.slice(-5)], ["host-lacks", STOP]);
  assertEquals(
    error.message,
    "Cannot start /dev/ublkb7: the ublk driver does not take this process for the device's server" +
      "; and then: Cannot stop /dev/ublkb7: I/O is still in flight" +
      "; and then: Cannot drain /dev/ublkb7: its queues still have commands in the kernel" +
      "; and then: Cannot close /dev/ublkb7: input/output error" +
      "; and then: Cannot delete /dev/ublkb7: this process has no right to",
  );
});

Deno.test("createDevice() can be cancelled before every step, and leaves nothing", () => {
  for (let steps = 1; steps <= CREATE.length; steps++) {
    const control = new FakeControl();
    const error = failure(control, {
      cancelled: () => control.trace.length >= steps ? new UmpathError("timed-out", "Cancelled") : null,
    });
    assertEquals([error.message, control.isClean], ["Cancelled", true]);
    const undo = { ADD_DEV: DELETE, SET_PARAMS: DELETE, "open-char-device": CLOSE }[control.trace[steps - 1]];
    if (undo !== undefined) assertEquals(control.trace.slice(steps), undo);
  }
});
