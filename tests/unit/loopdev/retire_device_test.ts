import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { EBUSY, EINVAL, EIO, ENOENT, ENXIO, ETIMEDOUT } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { createLoopDevice } from "../../../src/loopdev/create_device.ts";
import { LoopDevice } from "../../../src/loopdev/device.ts";
import { destroyLoopDevice } from "../../../src/loopdev/retire_device.ts";
import { LoopFlag } from "../../../src/protocol/loop.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";
import { FakeLoop, type Script } from "./fake_loop.ts";

const RELEASE = ["unmount", "drain-queues", "close-fuse", "remove-file"] as const;

/** A live device, made without the script, and then a trace that begins anew. */
function makeLive(script: Script = {}, { hasNode = true } = {}): { loop: FakeLoop; device: LoopDevice } {
  const later: Script = {};
  const loop = new FakeLoop(later);
  if (!hasNode) loop.nodes.clear();
  const { device } = loop.run(createLoopDevice({
    geometry: makeGeometry(),
    filePath: "/run/umpath/loop/vol1-n1",
    requestBytes: 1 << 20,
    requestsMax: 256,
    pageBytes: 4096,
  }));
  loop.trace.length = 0;
  Object.assign(later, script);
  return { loop, device };
}

Deno.test("destroyLoopDevice() unbinds, unmounts, drains, closes and removes, in this order", () => {
  for (const force of [false, true]) {
    const { loop, device } = makeLive();
    assertEquals(loop.run(destroyLoopDevice(device, { force })), []);
    assertEquals([loop.trace, loop.isClean], [["clear-loop", "loop-flags", "remove-loop", ...RELEASE], true]);
    assertEquals([device.state, loop.nodes.size], ["removed", 1]);
  }
});

Deno.test("destroyLoopDevice() never touches a device that is another program's by now, and says so", () => {
  for (const force of [false, true]) {
    const { loop, device } = makeLive({}, { hasNode: false });
    loop.sequences.set("/dev/loop3", "77");
    const before = loop.bound.get("/dev/loop3");
    loop.openers = 1;
    const warnings = loop.run(destroyLoopDevice(device, { force }));
    assertStringIncludes(warnings[0]!.message, "/dev/loop3 is another program's by now and is left alone");
    assertEquals([loop.bound.get("/dev/loop3"), loop.nodes.size, loop.added.size], [before, 1, 1]);
    assertEquals([device.state, loop.mounted, loop.fuseOpen, loop.notes.size], ["removed", false, false, 0]);
  }
});

Deno.test("destroyLoopDevice() keeps a note of a device that is in use, and of no other", () => {
  const { loop, device } = makeLive();
  loop.openers = 1;
  loop.run(destroyLoopDevice(device, { force: true }));
  assertEquals([...loop.notes], [[3, true]]);
});

Deno.test("destroyLoopDevice() removes the node that was made for the device", () => {
  const { loop, device } = makeLive({}, { hasNode: false });
  loop.run(destroyLoopDevice(device));
  assertEquals([loop.nodes.size, loop.trace[2]], [0, "remove-node"]);
});

Deno.test("destroyLoopDevice() waits for a user who is about to close the device", () => {
  const { loop, device } = makeLive();
  loop.openers = 1;
  loop.closeAfter = 3;
  assertEquals(loop.run(destroyLoopDevice(device)), []);
  assertEquals([loop.pauses, loop.isClean], [3, true]);
});

Deno.test("destroyLoopDevice() refuses a device that is open, and keeps it as it was", () => {
  const { loop, device } = makeLive();
  const before = loop.bound.get("/dev/loop3")!;
  loop.openers = 1;
  const error = assertThrows(() => loop.run(destroyLoopDevice(device)), UmpathError, "somebody has it open");
  assertEquals([error.code, device.state, loop.trace.at(-1)], ["in-use", "live", "keep-loop"]);
  assertEquals([loop.bound.get("/dev/loop3"), before & LoopFlag.AUTOCLEAR], [before, 0]);
  assertEquals([loop.mounted, loop.served], [true, true]);
  loop.openers = 0;
  assertEquals(loop.run(destroyLoopDevice(device)), []);
  assertEquals(loop.isClean, true);
});

Deno.test("destroyLoopDevice() takes a device that is closed just as it is to be kept", () => {
  const { loop, device } = makeLive({ "keep-loop": -ENXIO });
  loop.openers = 1;
  assertEquals(loop.run(destroyLoopDevice(device)), []);
  assertEquals(device.state, "removed");
});

Deno.test("destroyLoopDevice() with force takes an open device away, and tells that it is still open", () => {
  const { loop, device } = makeLive({}, { hasNode: false });
  loop.openers = 1;
  const warnings = loop.run(destroyLoopDevice(device, { force: true }));
  assertEquals(warnings.map(({ code }) => code), ["in-use"]);
  assertStringIncludes(warnings[0].message, "/dev/loop3 is still open");
  assertEquals([loop.mounted, loop.served, loop.fuseOpen, loop.fileMade], [false, false, false, false]);
  // Its user needs the node no more, but its number is not free: another device must not get it meanwhile.
  assertEquals([device.state, loop.bound.size, loop.nodes.size], ["removed", 1, 1]);
});

Deno.test("destroyLoopDevice() fails while the device cannot be unbound, and can be called again", () => {
  const { loop, device } = makeLive({ "clear-loop": [-ETIMEDOUT] });
  const error = assertThrows(() => loop.run(destroyLoopDevice(device)), UmpathError, "I/O is still in flight");
  assertEquals([error.code, device.state, loop.trace], ["timed-out", "live", ["clear-loop"]]);
  loop.run(destroyLoopDevice(device));
  assertEquals([device.state, loop.isClean], ["removed", true]);
});

Deno.test("destroyLoopDevice() fails while the file cannot be unmounted, and can be called again", () => {
  const { loop, device } = makeLive({ unmount: [-EBUSY] });
  assertThrows(() => loop.run(destroyLoopDevice(device)), UmpathError, "Cannot unmount the file of /dev/loop3");
  assertEquals([device.state, loop.served, loop.fuseOpen], ["unbound", true, true]);
  loop.run(destroyLoopDevice(device));
  assertEquals([device.state, loop.isClean], ["removed", true]);
});

Deno.test("destroyLoopDevice() goes on after what does not matter, and tells what does", () => {
  const gone: Script[] = [{ unmount: -EINVAL }, { unmount: -ENOENT, "remove-file": -ENOENT }, { "clear-loop": -ENXIO }];
  for (const script of gone) {
    const { loop, device } = makeLive(script);
    if (script.unmount !== undefined) loop.mounted = false;
    if (script["clear-loop"] !== undefined) loop.bound.clear();
    assertEquals(loop.run(destroyLoopDevice(device)), [], JSON.stringify(script));
    assertEquals(device.state, "removed");
  }
  const { loop, device } = makeLive({ "drain-queues": -ETIMEDOUT, "close-fuse": -EIO });
  const words = loop.run(destroyLoopDevice(device)).map(({ message }) => message);
  assertStringIncludes(words[0], "Cannot drain /dev/loop3: its queues still have requests");
  assertStringIncludes(words[1], "Cannot close the file system of /dev/loop3");
  assertEquals([words.length, loop.trace.at(-1), device.state], [2, "remove-file", "removed"]);
});

Deno.test("LoopDevice refuses a step that its table does not have", () => {
  const device = new LoopDevice("/run/umpath/loop/vol1-n1", 40);
  assertThrows(() => device.transition("live"), AssertionFailure, "must not go from opened to live");
  device.transition("mounted");
  assertThrows(() => device.transition("removed"), AssertionFailure, "must not go from mounted to removed");
});
