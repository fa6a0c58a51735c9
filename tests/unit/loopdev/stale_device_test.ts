import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { EIO, EPERM } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { removeStaleLoop, type StaleLoop } from "../../../src/loopdev/stale_device.ts";
import { FakeLoop, type Script } from "./fake_loop.ts";

const STALE: StaleLoop = { filePath: "/run/umpath/loop/vol1-n1", isMounted: true, devices: ["/dev/loop3"] };

/** What a daemon leaves that was killed. */
function makeLeft(script: Script = {}): FakeLoop {
  const loop = new FakeLoop(script);
  loop.fileMade = true;
  loop.mounted = true;
  loop.bound.set("/dev/loop3", 16);
  return loop;
}

Deno.test("removeStaleLoop() unbinds, unmounts and removes the file", () => {
  const loop = makeLeft();
  assertEquals(loop.run(removeStaleLoop(STALE)), []);
  assertEquals([loop.trace, loop.isClean], [["clear-loop", "loop-flags", "unmount", "remove-file"], true]);
});

Deno.test("removeStaleLoop() touches no more than there is", () => {
  const unbound = makeLeft();
  unbound.bound.clear();
  unbound.run(removeStaleLoop({ ...STALE, devices: [] }));
  assertEquals([unbound.trace, unbound.isClean], [["unmount", "remove-file"], true]);
  const file = new FakeLoop();
  file.fileMade = true;
  file.run(removeStaleLoop({ ...STALE, devices: [], isMounted: false }));
  assertEquals([file.trace, file.isClean], [["remove-file"], true]);
});

Deno.test("removeStaleLoop() does not mind what somebody else has removed meanwhile", () => {
  const loop = new FakeLoop();
  assertEquals(loop.run(removeStaleLoop(STALE)), []);
  assertEquals(loop.trace.at(-1), "remove-file");
});

Deno.test("removeStaleLoop() unmounts under a device that is still open, and says so", () => {
  const loop = makeLeft();
  loop.openers = 1;
  const remarks = loop.run(removeStaleLoop(STALE));
  assertEquals(remarks.length, 1);
  assertStringIncludes(remarks[0], "/dev/loop3 is still open");
  assertEquals([loop.mounted, loop.fileMade, loop.bound.size], [false, false, 1]);
});

Deno.test("removeStaleLoop() takes every device that is bound to the file", () => {
  const loop = makeLeft();
  loop.bound.set("/dev/loop4", 16);
  loop.run(removeStaleLoop({ ...STALE, devices: ["/dev/loop3", "/dev/loop4"] }));
  assertEquals(loop.isClean, true);
});

Deno.test("removeStaleLoop() fails with the kernel's words when something stays", () => {
  const rows: [Script, string][] = [
    [{ "clear-loop": -EPERM }, "Cannot unbind /dev/loop3"],
    [{ unmount: -EPERM }, "Cannot unmount the file of /run/umpath/loop/vol1-n1"],
    [{ "remove-file": -EIO }, "Cannot remove the file of /run/umpath/loop/vol1-n1"],
  ];
  for (const [script, words] of rows) {
    assertThrows(() => makeLeft(script).run(removeStaleLoop(STALE)), UmpathError, words);
  }
});
