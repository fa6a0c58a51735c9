import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { EINVAL, EIO } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { RequestTable } from "../../../src/block/request.ts";
import { UblkFeature, UblkIoOp } from "../../../src/protocol/ublk.ts";
import { createDevice, resizeDevice, type UblkDevice } from "../../../src/ublk/control.ts";
import { DescriptorReader } from "../../../src/ublk/descriptor.ts";
import { FakeControl, type Script } from "./fake_control.ts";
import { makeGeometry } from "./fake_kernel.ts";

function makeLive(features: bigint, script: Script = {}): { control: FakeControl; device: UblkDevice } {
  const control = new FakeControl(script);
  control.features = features;
  const device = control.run(
    createDevice({ geometry: makeGeometry(), queues: 1, depth: 8, maxIoBytes: 4096, pid: 9 }),
  );
  control.trace.length = 0;
  return { control, device };
}

const ABLE = UblkFeature.CMD_IOCTL_ENCODE | UblkFeature.UPDATE_SIZE;

Deno.test("resizeDevice() sends UPDATE_SIZE with the size in sectors of 512 bytes", () => {
  const cases: [blockSize: number, blocks: number, sectors: bigint][] = [
    [512, 1000, 1000n],
    [4096, 1000, 8000n],
    [4096, 2 ** 50, 2n ** 53n],
  ];
  for (const [blockSize, blocks, sectors] of cases) {
    const { control, device } = makeLive(ABLE, { UPDATE_SIZE: 0 });
    control.run(resizeDevice(device, makeGeometry({ blockSize, blocks })));
    const step = control.steps.at(-1)!;
    assertEquals(control.trace, ["UPDATE_SIZE"]);
    assertEquals(step.kind === "command" && [step.data0, step.devId], [sectors, device.devId]);
  }
});

Deno.test("resizeDevice() says what a kernel is too old for, and sends nothing", () => {
  const { control, device } = makeLive(UblkFeature.CMD_IOCTL_ENCODE);
  const error = assertThrows(() => control.run(resizeDevice(device, makeGeometry())), UmpathError);
  assertEquals([error.code, error.message], [
    "host-lacks",
    "Cannot resize /dev/ublkb7: this kernel's ublk driver cannot",
  ]);
  assertMatch(error.hint!, /keeps its size until it is detached/);
  assertEquals(control.trace, []);
});

Deno.test("resizeDevice() refuses a size that no device has, and names what the driver refuses", () => {
  const { control, device } = makeLive(ABLE, { UPDATE_SIZE: -EIO });
  const bad = assertThrows(() => control.run(resizeDevice(device, makeGeometry({ blocks: 0 }))), UmpathError);
  assertEquals([bad.code, control.trace], ["refused", []]);
  const refused = assertThrows(() => control.run(resizeDevice(device, makeGeometry())), UmpathError);
  assertMatch(refused.message, /^Cannot resize \/dev\/ublkb7: input\/output error$/);
});

Deno.test("DescriptorReader.resize() moves the end of the device", () => {
  const requests = new RequestTable(1, { bufferBytes: 65536 });
  const descriptors = new Int32Array(6);
  const reader = new DescriptorReader(descriptors, requests, makeGeometry({ blockSize: 4096, blocks: 100 }));
  const read = (block: number) => {
    descriptors.set([UblkIoOp.READ, 8, block * 8, 0]);
    return reader.read(0);
  };
  assertEquals([read(99), read(100)], [0, -EINVAL]);
  reader.resize(200);
  assertEquals([read(100), read(199), read(200)], [0, 0, -EINVAL]);
  reader.resize(50);
  assertEquals([read(49), read(50)], [0, -EINVAL]);
});
