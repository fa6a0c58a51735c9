import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { UblkDevice } from "../../../src/ublk/device.ts";
import { decodeDeviceInfo, encodeDeviceInfo } from "../../../src/ublk/device_info.ts";

// Provenance: written by hand from the layout of struct ublksrv_ctrl_dev_info, a field a group.
const ADD_INFO = "0200 0004 0000 0000 00000800 ffffffff 67450000 00000000 4000020000000000 67450000 61706d75" +
  "00000000 00000000 0000000000000000 0000000000000000";

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/[0-9a-f]{2}/g)!, (pair) => parseInt(pair, 16));
}

const ADD = {
  devId: 0xffff_ffff,
  queues: 2,
  depth: 1024,
  maxIoBytes: 512 * 1024,
  features: (1n << 6n) | (1n << 17n),
  pid: 0x4567,
};

Deno.test("encodeDeviceInfo() gives the bytes of an ADD_DEV", () => {
  assertEquals(encodeDeviceInfo(ADD), fromHex(ADD_INFO));
});

Deno.test("decodeDeviceInfo() reads what the kernel filled, and whose it is", () => {
  const bytes = fromHex(ADD_INFO);
  bytes.set([5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 12);
  bytes[4] = 2;
  const { pid, ...shape } = ADD;
  const ownerMark = 0x756d_7061_0000_0000n | BigInt(pid);
  const info = { ...shape, devId: 5, state: 2, serverPid: -1, ownerPid: pid, ownerMark };
  assertEquals(decodeDeviceInfo(bytes), info);
  bytes[39] = 0;
  assertEquals(decodeDeviceInfo(bytes), { ...info, ownerPid: null, ownerMark: ownerMark & 0xff_ffff_ffff_ffffn });
  assertThrows(() => decodeDeviceInfo(bytes.subarray(1)), AssertionFailure);
});

Deno.test("encodeDeviceInfo() tells the devices of one process apart", () => {
  const info = (serial: number) => decodeDeviceInfo(encodeDeviceInfo({ ...ADD, pid: 2 ** 22 - 1, serial }));
  assertEquals([info(0).ownerPid, info(1023).ownerPid], [2 ** 22 - 1, 2 ** 22 - 1]);
  assertEquals(new Set([0, 1, 2, 1023].map((serial) => info(serial).ownerMark)).size, 4);
});

Deno.test("UblkDevice goes from state to state as the table says", () => {
  const make = () => new UblkDevice(decodeDeviceInfo(fromHex(ADD_INFO)), { ioctlEncode: true });
  const device = make();
  for (const state of ["configured", "opened", "fetching", "live", "stopping", "stopped", "deleted"] as const) {
    device.transition(state);
    assertEquals(device.state, state);
    assertThrows(() => device.transition(state), AssertionFailure, `from ${state} to ${state}`);
  }
  assertThrows(() => make().transition("live"), AssertionFailure, "A ublk device must not go from added to live");
});
