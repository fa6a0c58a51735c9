import { assertEquals, assertThrows } from "@std/assert";
import { EBUSY, EIO, EPERM } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { removeStaleFile, removeStaleLoop, type StaleLoop } from "../../../src/loopdev/stale_device.ts";
import { FakeLoop, type Script } from "./fake_loop.ts";

const STALE: StaleLoop = { number: 3, sequence: "1", isAdded: true };
const PATH = "/run/umpath/loop/vol1-n1";

/** What a daemon leaves that was killed. */
function makeLeft(script: Script = {}): FakeLoop {
  const loop = new FakeLoop(script);
  loop.fileMade = true;
  loop.mounted = true;
  loop.bound.set("/dev/loop3", 16);
  loop.added.add(3);
  return loop;
}

Deno.test("removeStaleLoop() unbinds the device and removes the number that was added for it", () => {
  const loop = makeLeft();
  assertEquals(loop.run(removeStaleLoop(STALE)), "free");
  assertEquals([loop.trace, loop.bound.size, loop.added.size], [["clear-loop", "loop-flags", "remove-loop"], 0, 0]);
  const given = makeLeft();
  assertEquals([given.run(removeStaleLoop({ ...STALE, isAdded: false })), given.added.size], ["free", 1]);
});

Deno.test("removeStaleLoop() never touches a device that is another program's by now", () => {
  const loop = makeLeft();
  loop.sequences.set("/dev/loop3", "2");
  assertEquals(loop.run(removeStaleLoop(STALE)), "foreign");
  assertEquals([loop.bound.get("/dev/loop3"), loop.added.size], [16, 1]);
});

Deno.test("removeStaleLoop() does not mind what somebody else has removed meanwhile", () => {
  const loop = makeLeft({ "remove-loop": -EBUSY });
  loop.bound.clear();
  assertEquals(loop.run(removeStaleLoop(STALE)), "free");
});

Deno.test("removeStaleLoop() says that a device is still open, which goes when it is closed", () => {
  const loop = makeLeft();
  loop.openers = 1;
  assertEquals(loop.run(removeStaleLoop(STALE)), "in-use");
  assertEquals([loop.bound.size, loop.added.size], [1, 1]);
});

Deno.test("removeStaleFile() unmounts and removes what there is", () => {
  const mounted = makeLeft();
  mounted.run(removeStaleFile({ path: PATH, isMounted: true }));
  assertEquals([mounted.trace, mounted.mounted, mounted.fileMade], [["unmount", "remove-file"], false, false]);
  const file = new FakeLoop();
  file.fileMade = true;
  file.run(removeStaleFile({ path: PATH, isMounted: false }));
  assertEquals([file.trace, file.isClean], [["remove-file"], true]);
  const gone = new FakeLoop();
  gone.run(removeStaleFile({ path: PATH, isMounted: true }));
  assertEquals(gone.trace, ["unmount", "remove-file"]);
});

Deno.test("removeStaleLoop() and removeStaleFile() fail with the kernel's words when something stays", () => {
  const file = { path: PATH, isMounted: true };
  const rows: [Script, string][] = [
    [{ "clear-loop": -EPERM }, "Cannot unbind /dev/loop3"],
    [{ unmount: -EPERM }, `Cannot unmount the file of ${PATH}`],
    [{ "remove-file": -EIO }, `Cannot remove the file of ${PATH}`],
  ];
  for (const [script, words] of rows) {
    const left = makeLeft(script);
    assertThrows(() => [left.run(removeStaleLoop(STALE)), left.run(removeStaleFile(file))], UmpathError, words);
  }
});
