import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  EACCES,
  EBUSY,
  EINVAL,
  EIO,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENXIO,
  EPERM,
  EROFS,
  ETIMEDOUT,
} from "../../../src/base/errno.ts";
import { type ErrorCode, UmpathError } from "../../../src/base/errors.ts";
import { createLoopDevice, type CreateLoopOptions } from "../../../src/loopdev/create_device.ts";
import type { LoopStep } from "../../../src/loopdev/loop_step.ts";
import { makeGeometry } from "../ublk/fake_kernel.ts";
import { FakeLoop, type Script } from "./fake_loop.ts";
import { initRequest } from "./fuse_request.ts";

const OPTIONS: CreateLoopOptions = {
  geometry: makeGeometry(),
  filePath: "/run/umpath/loop/vol1-n1",
  requestBytes: 1 << 20,
  requestsMax: 256,
  pageBytes: 4096,
};

const MOUNT: LoopStep["kind"][] = ["open-fuse", "make-file", "mount", "read-request", "write-answer"];
const BIND: LoopStep["kind"][] = ["open-file", "add-loop", "wait-node", "configure-loop", "close-file", "loop-flags"];
const CREATE: LoopStep["kind"][] = [...MOUNT, "start-queues", ...BIND];

const CLOSE: LoopStep["kind"][] = ["close-fuse", "remove-file"];
const UNMOUNT: LoopStep["kind"][] = ["unmount", ...CLOSE];
const DRAIN: LoopStep["kind"][] = ["unmount", "drain-queues", ...CLOSE];

function failure(loop: FakeLoop, options: Partial<CreateLoopOptions> = {}): UmpathError {
  return assertThrows(() => loop.run(createLoopDevice({ ...OPTIONS, ...options })), UmpathError);
}

Deno.test("createLoopDevice() makes a device step by step", () => {
  const loop = new FakeLoop();
  const { device, warnings } = loop.run(createLoopDevice(OPTIONS));
  assertEquals([loop.trace, warnings], [CREATE, []]);
  assertEquals([device.state, device.blockPath, device.number, device.hasOwnNode], ["live", "/dev/loop3", 3, false]);
  assertEquals([loop.step("mount").path, loop.step("mount").maxRead], [OPTIONS.filePath, 1 << 20]);
  assertEquals([loop.step("open-file").writable, loop.fileOpen], [true, false]);
  const { blockSize, flags, name } = loop.step("configure-loop");
  assertEquals([blockSize, flags, name], [512, 16 | 8, OPTIONS.filePath]);
});

Deno.test("createLoopDevice() passes block size and read-only on", () => {
  const loop = new FakeLoop();
  loop.run(createLoopDevice({ ...OPTIONS, geometry: makeGeometry({ blockSize: 4096, readOnly: true }) }));
  const { blockSize, flags } = loop.step("configure-loop");
  assertEquals([blockSize, flags, loop.step("open-file").writable], [4096, 16 | 8 | 1, false]);
});

Deno.test("createLoopDevice() tells when the kernel gives no direct I/O", () => {
  const { warnings } = new FakeLoop({ "loop-flags": 8 }).run(createLoopDevice(OPTIONS));
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], "/dev/loop3 has no direct I/O");
});

Deno.test("createLoopDevice() looks for another number when somebody was faster", () => {
  const loop = new FakeLoop();
  loop.free = [3, 4, 5];
  ["/dev/loop4", "/dev/loop5"].forEach((path) => loop.nodes.add(path));
  loop.bound.set("/dev/loop3", 0).set("/dev/loop4", 0);
  const { device } = loop.run(createLoopDevice(OPTIONS));
  assertEquals(device.blockPath, "/dev/loop5");
});

Deno.test("createLoopDevice() takes a device that is free where the host lets nobody add one, or use one that was added", () => {
  const refusals: Script[] = [{ "add-loop": -EPERM }, { "configure-loop": [-EACCES, null] }, {
    "wait-node": [-EACCES, null],
  }];
  for (const script of refusals) {
    const loop = new FakeLoop(script);
    const { device } = loop.run(createLoopDevice(OPTIONS));
    assertEquals([device.blockPath, device.isAdded, loop.added.size], ["/dev/loop3", false, 0], JSON.stringify(script));
    assertEquals([loop.trace.includes("find-loop"), [...loop.notes]], [true, [[3, false]]]);
  }
});

Deno.test("createLoopDevice() knows the device that it has bound by its sequence number", () => {
  const loop = new FakeLoop();
  const { device } = loop.run(createLoopDevice(OPTIONS));
  assertEquals([device.sequence, device.isAdded], [loop.sequences.get("/dev/loop3")!, true]);
});

Deno.test("createLoopDevice() gives up when somebody is faster every time, and leaves nothing", () => {
  const loop = new FakeLoop({ "configure-loop": -EBUSY });
  assertEquals(failure(loop).code, "in-use");
  assertEquals([loop.trace.filter((kind) => kind === "add-loop").length, loop.isClean], [16, true]);
});

Deno.test("createLoopDevice() makes the node that nobody else makes, and removes it if the device is not bound", () => {
  const loop = new FakeLoop();
  loop.nodes.clear();
  const { device } = loop.run(createLoopDevice(OPTIONS));
  assertEquals([device.hasOwnNode, [...loop.nodes]], [true, ["/dev/loop3"]]);
  for (const errno of [EBUSY, EINVAL]) {
    const failing = new FakeLoop({ "configure-loop": -errno });
    failing.nodes.clear();
    failure(failing);
    assertEquals([failing.isClean, failing.nodes.size], [true, 0]);
  }
});

Deno.test("createLoopDevice() refuses a geometry before it asks the kernel anything", () => {
  const refused = [{ blockSize: 256 }, { blockSize: 8192 }, { blockSize: 520 }, { blocks: 0 }, { blocks: 0.5 }];
  for (const change of [...refused, { blocks: 2 ** 54 }]) {
    const loop = new FakeLoop();
    const error = failure(loop, { geometry: makeGeometry(change) });
    assertEquals([error.code, loop.trace], ["refused", []], JSON.stringify(change));
  }
});

Deno.test("createLoopDevice() says which kernel is needed when it cannot agree with the FUSE driver", () => {
  const rows: [Uint8Array, string][] = [
    [initRequest({ major: 8 }), "version 8.41"],
    [initRequest({ minor: 27 }), "version 7.27"],
    [initRequest({ flags: 0 }), "large requests"],
    [initRequest({ opcode: 15 }), "operation 15"],
    [new Uint8Array(12), "12 bytes"],
  ];
  for (const [init, words] of rows) {
    const loop = new FakeLoop();
    loop.init = init;
    const error = failure(loop);
    assertStringIncludes(error.message, words);
    assertStringIncludes(error.hint ?? "", "Linux");
    assertEquals([error.code, loop.trace, loop.isClean], ["host-lacks", [...MOUNT.slice(0, 4), ...UNMOUNT], true]);
  }
});

const at = (kind: LoopStep["kind"]) => CREATE.slice(0, CREATE.indexOf(kind) + 1);

const DROP: LoopStep["kind"][] = ["remove-loop", "close-file", ...DRAIN];
const TAKEN: LoopStep["kind"][] = ["clear-loop", "loop-flags", "remove-loop", ...DRAIN];
const NOT_FOUND: LoopStep["kind"][] = [...at("add-loop"), "find-loop", "close-file", ...DRAIN];

const FAILURES: [script: Script, code: ErrorCode, words: string, trace: LoopStep["kind"][]][] = [
  [{ "open-fuse": -ENOENT }, "host-lacks", "this host has no FUSE driver", at("open-fuse")],
  [{ "open-fuse": -ENODEV }, "host-lacks", "this host has no FUSE driver", at("open-fuse")],
  [{ "open-fuse": -EACCES }, "host-lacks", "no right", at("open-fuse")],
  [{ "make-file": -ENOSPC }, "host-lacks", "run folder is full", [...at("make-file"), ...CLOSE]],
  [{ "make-file": -EROFS }, "host-lacks", "run folder is read-only", [...at("make-file"), ...CLOSE]],
  [{ mount: -EPERM }, "host-lacks", "no right", [...at("mount"), ...CLOSE]],
  [{ mount: -ENODEV }, "host-lacks", "no FUSE driver", [...at("mount"), ...CLOSE]],
  [{ "read-request": -EIO }, "host-lacks", "Cannot begin to serve", [...at("read-request"), ...UNMOUNT]],
  [{ "write-answer": -EINVAL }, "host-lacks", "Cannot begin to serve", [...at("write-answer"), ...UNMOUNT]],
  [{ "start-queues": -ETIMEDOUT }, "timed-out", "do not come up in time", [...at("start-queues"), ...DRAIN]],
  [{ "start-queues": -ENOMEM }, "host-lacks", "out of memory", [...at("start-queues"), ...DRAIN]],
  [{ "open-file": -ETIMEDOUT }, "timed-out", "not served", [...at("open-file"), ...DRAIN]],
  [{ "add-loop": -ENOENT, "find-loop": -ENOENT }, "host-lacks", "no loop driver", NOT_FOUND],
  [{ "add-loop": -EPERM, "find-loop": -ENXIO }, "host-lacks", "no loop driver", NOT_FOUND],
  [{ "add-loop": -EPERM, "find-loop": -ENOSPC }, "in-use", "no loop device is free", NOT_FOUND],
  [{ "add-loop": -ENOSPC }, "in-use", "no loop device is free", [...at("add-loop"), "close-file", ...DRAIN]],
  [{ "note-device": -ENOSPC }, "host-lacks", "Cannot note /dev/loop3", [...at("wait-node"), ...DROP]],
  [{ "note-device": [null, -ENOSPC] }, "host-lacks", "Cannot note", [...at("configure-loop"), "close-file", ...TAKEN]],
  [{ "wait-node": -EIO }, "host-lacks", "Cannot find /dev/loop3", [...at("wait-node"), ...DROP]],
  [
    { "wait-node": -ENOENT, "make-node": -EPERM },
    "host-lacks",
    "may not make device nodes",
    [...at("wait-node"), "make-node", "remove-loop", "find-loop", "wait-node", "make-node", "close-file", ...DRAIN],
  ],
  [{ "configure-loop": -EINVAL }, "host-lacks", "block size", [...at("configure-loop"), ...DROP]],
  [{ "configure-loop": -EIO }, "unreachable", "first I/O", [...at("configure-loop"), ...DROP]],
  [{ "configure-loop": -ETIMEDOUT }, "timed-out", "scan", [...at("configure-loop"), ...DROP]],
  [{ "loop-flags": [-EIO, null] }, "host-lacks", "ask about", [...CREATE, ...TAKEN]],
];

for (const [script, code, words, trace] of FAILURES) {
  Deno.test(`createLoopDevice() undoes what it did after ${JSON.stringify(script)}`, () => {
    const loop = new FakeLoop(structuredClone(script));
    const error = failure(loop);
    assertEquals([error.code, loop.trace, loop.isClean], [code, trace, true]);
    assert(error.message.includes(words), error.message);
  });
}

Deno.test("createLoopDevice() undoes what it did when the queues throw", () => {
  const loop = new FakeLoop();
  const sequence = createLoopDevice(OPTIONS);
  let next = sequence.next();
  while (!next.done && next.value.kind !== "start-queues") next = sequence.next(loop.answer(next.value));
  const rest = function* () {
    let step = sequence.throw(new UmpathError("unreachable", "The path is lost"));
    while (!step.done) step = sequence.next(yield step.value);
    return step.value;
  };
  assertThrows(() => loop.run(rest()), UmpathError, "The path is lost");
  assertEquals([loop.trace.slice(-4), loop.isClean], [DRAIN, true]);
});

Deno.test("createLoopDevice() says what lacks, and how to get it", () => {
  assertStringIncludes(failure(new FakeLoop({ "open-fuse": -ENOENT })).hint ?? "", "modprobe fuse");
  assertStringIncludes(
    failure(new FakeLoop({ "add-loop": -ENOENT, "find-loop": -ENOENT })).hint ?? "",
    "modprobe loop",
  );
  assertStringIncludes(failure(new FakeLoop({ mount: -EPERM })).hint ?? "", "CAP_SYS_ADMIN");
});

Deno.test("createLoopDevice() goes on undoing when that fails, and says both", () => {
  const loop = new FakeLoop({ "configure-loop": -EINVAL, "drain-queues": -ETIMEDOUT, "remove-file": -EROFS });
  const { code, message } = failure(loop);
  assertEquals([code, loop.trace.slice(-4)], ["host-lacks", DRAIN]);
  const words = [
    "does not support files of this block size",
    "Cannot drain a loop device",
    "Cannot remove the file of",
  ];
  for (const part of words) assertStringIncludes(message, part);
  assertEquals(message.split("; and then: ").length, 3);
});

Deno.test("createLoopDevice() stops undoing at a mount that does not go, and says so", () => {
  const loop = new FakeLoop({ "configure-loop": -EINVAL, unmount: -EBUSY });
  assertStringIncludes(failure(loop).message, "; and then: Cannot unmount the file of a loop device");
  assertEquals([loop.trace.at(-1), loop.served, loop.fuseOpen], ["unmount", true, true]);
});

Deno.test("createLoopDevice() can be cancelled at each step, and leaves nothing", () => {
  for (let steps = 1; steps < CREATE.length; steps++) {
    const loop = new FakeLoop();
    const cancelled = () => loop.trace.length >= steps ? new UmpathError("timed-out", "Cancelled") : null;
    const error = failure(loop, { cancelled });
    assertEquals([error.message, loop.isClean], ["Cancelled", true], `after ${steps} steps`);
  }
});
