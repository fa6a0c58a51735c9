import { assert, assertEquals, assertMatch } from "@std/assert";
import { setLogSink } from "../../../src/base/log.ts";
import type { VolumeInfo } from "../../../src/rpc/host_api.ts";
import { VolumeSet } from "../../../src/host/daemon/volume_set.ts";
import { WorkerPool } from "../../../src/host/driver/worker_pool.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { type FakePortal, FakeTarget } from "./fake_target.ts";
import { attachParams, delay, eventually } from "./host_fixture.ts";

const BLOCKS = 2048;
const OTHER_UUID = "5a3c1c1e-0000-4000-8000-00000000beef";

/** A volume over all portals of a target, and what is logged. */
class Rig implements AsyncDisposable {
  readonly log: string[] = [];
  readonly failures: string[] = [];
  readonly set: VolumeSet;

  constructor(readonly target: FakeTarget) {
    setLogSink((line) => this.log.push(line));
    this.set = new VolumeSet(new WorkerPool(2, (reason) => this.failures.push(reason)));
  }

  attach(portals = this.target.portals) {
    return this.set.attach(attachParams(portals), () => {});
  }

  get volume(): VolumeInfo {
    return this.set.find("vol-n1").info();
  }

  get blocks(): number {
    return this.volume.sizeBytes / 512;
  }

  get states(): string {
    return this.volume.paths.map((path) => path.state).join();
  }

  logged(words: RegExp): boolean {
    return this.log.some((line) => words.test(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.set.close();
    setLogSink(null);
    assertEquals(this.failures, []);
    assertEquals(this.log.filter((line) => /bug|does not expect|could not be read|\bat .*\.ts:\d/.test(line)), []);
  }
}

function testWatch(name: string, portals: number, body: (rig: Rig, target: FakeTarget) => Promise<void>): void {
  Deno.test(name, async () => {
    await using target = FakeTarget.start({ portals, blocks: BLOCKS });
    {
      await using rig = new Rig(target);
      await rig.attach();
      await body(rig, target);
    }
    await eventually("no connection is left", () => target.connections === 0);
  });
}

/** The portal's namespace has that many blocks, and hosts are told. */
function resize(portal: FakePortal, blocks: number): void {
  portal.blocks = blocks;
  portal.tellNamespaceChange();
}

testWatch("a volume grows once every live path shows the larger size", 2, async (rig, { portals: [first, second] }) => {
  resize(first, 4096);
  await eventually("one path is read again", () => rig.logged(/show sizes of 2048 to 4096 blocks/));
  assertEquals(rig.blocks, BLOCKS);
  resize(second, 4096);
  await eventually("it has grown", () => rig.blocks === 4096);
  assertEquals(rig.states, "live,live");
  assert(rig.logged(/ info .*vol-n1: its namespace has grown from 1 MiB to 2 MiB/));
});

testWatch(
  "a volume shrinks, loudly, as soon as one path shows the smaller size",
  2,
  async (rig, { portals: [first] }) => {
    resize(first, 1024);
    await eventually("it has shrunk", () => rig.blocks === 1024);
    assert(rig.logged(/ warn .*vol-n1: its namespace has SHRUNK from 1 MiB to 512 KiB/));
    assertEquals(rig.states, "live,live");
  },
);

testWatch("a path that connects again brings the new size along", 1, async (rig, { portals: [only] }) => {
  only.blocks = 8192;
  await only.kill();
  await eventually("it has grown", () => rig.blocks === 8192);
  await eventually("it is live", () => rig.states === "live");
});

testWatch("events without a change, and one after the other, leave the volume as it is", 2, async (rig, target) => {
  const [first] = target.portals;
  const reads = first.count("identify namespace");
  for (let i = 0; i < 5; i++) first.tellNamespaceChange();
  await eventually("it is read", () => first.count("identify namespace") > reads);
  await delay(50);
  assertEquals([rig.blocks, rig.states], [BLOCKS, "live,live"]);
  assert(!rig.logged(/grown|SHRUNK/));
});

testWatch(
  "a path whose namespace becomes another one is out of use at once",
  2,
  async (rig, { portals: [first, second] }) => {
    second.uuid = OTHER_UUID;
    second.tellNamespaceChange();
    await eventually("it is out of use", () => rig.states === "live,disabled");
    assertMatch(rig.volume.paths[1].reason!, /^it leads to another namespace now: its UUID is .*beef, not .*0001$/);
    await eventually(
      "it is told",
      () => rig.logged(/ error .*path 1 is out of use: it leads to another namespace now/),
    );
    await eventually("its queues are closed", () => second.ioQueues === 0);
    const attempts = second.count("connect");
    await delay(150);
    assertEquals([second.count("connect"), rig.volume.state], [attempts, "degraded"]);
    second.uuid = first.uuid;
    await rig.attach();
    assertEquals(rig.states, "live,live");
  },
);

testWatch("a namespace of another block size is another namespace", 1, async (rig, { portals: [only] }) => {
  only.blockShift = 12;
  only.tellNamespaceChange();
  await eventually("it is out of use", () => rig.states === "disabled");
  assertMatch(rig.volume.paths[0].reason!, /its blocks have 4096 bytes, not 512$/);
});

testWatch(
  "with every path refused nothing waits for one, until one is attached that is right",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    const { table } = rig.set.find("vol-n1");
    for (const portal of target.portals) portal.uuid = OTHER_UUID;
    first.tellNamespaceChange();
    await eventually("it is out of use", () => rig.states === "disabled,live");
    assertEquals(table.isCut, false);
    await second.kill();
    await eventually("it is out of use after it has connected again", () => rig.states === "disabled,disabled");
    assertEquals(table.isCut, true);
    assert(rig.logged(/ error .*no path leads to its namespace any more: I\/O fails/));
    for (const portal of target.portals) portal.uuid = "5a3c1c1e-0000-4000-8000-000000000001";
    await rig.attach();
    assertEquals([rig.states, table.isCut], ["live,live", false]);
  },
);

testWatch("a path whose namespace is gone is lost, and back with it", 1, async (rig, { portals: [only] }) => {
  only.nsid = 2;
  only.tellNamespaceChange();
  await eventually("it is lost", () => rig.states === "reconnecting");
  assertMatch(rig.volume.paths[0].reason!, /the subsystem has no namespace 1 \(it has 2\)$/);
  only.nsid = 1;
  await eventually("it is live", () => rig.states === "live");
});

testWatch("a new path of another size joins, and the smallest counts until they agree", 2, async (rig, target) => {
  await rig.set.detach({ volumes: ["vol-n1"], all: false, force: false });
  const [first, second] = target.portals;
  await rig.attach([first]);
  second.blocks = 4096;
  await rig.attach([second]);
  assertEquals([rig.states, rig.blocks], ["live,live", BLOCKS]);
  assertMatch(rig.volume.sizeWarning!, /^its paths show sizes of 2048 to 4096 blocks/);
  await first.stop();
  await eventually("it has grown", () => rig.blocks === 4096);
  assertEquals(rig.volume.sizeWarning, null);
});

testWatch("a path whose event was lost is asked when another one shows a new size", 2, async (rig, target) => {
  const [first, second] = target.portals;
  first.blocks = second.blocks = 4096;
  first.tellNamespaceChange();
  await eventually("it has grown", () => rig.blocks === 4096);
  assertEquals(rig.states, "live,live");
});

testWatch("a namespace that could not be read again is neither gone nor another one", 1, async (rig, target) => {
  const [only] = target.portals;
  const { cntlid } = rig.volume.paths[0];
  only.adminStatus = { step: "identify descriptors", status: StatusCode.INTERNAL_ERROR | StatusField.DNR, times: 4 };
  resize(only, 4096);
  await eventually("it is read after all", () => rig.blocks === 4096);
  assert(rig.logged(/ warn .*cannot read the namespace again: identify namespace descriptors failed: internal error/));
  assertEquals([rig.states, rig.volume.paths[0].cntlid], ["live", cntlid]);
});

testWatch("a path that cannot read the descriptors when it is back is tried until it can", 1, async (rig, target) => {
  const [only] = target.portals;
  only.adminStatus = { step: "identify descriptors", status: StatusCode.INVALID_FIELD | StatusField.DNR, times: 2 };
  await only.kill();
  await eventually("it is live again", () => rig.states === "live" && rig.volume.paths[0].reconnects === 1);
  assert(rig.logged(/nothing shows that it leads to the same namespace/));
});

testWatch(
  "a volume is read-only while its namespace is write protected, also from attach on",
  1,
  async (rig, target) => {
    const [only] = target.portals;
    assertEquals(rig.volume.readOnly, false);
    only.isProtected = true;
    only.tellNamespaceChange();
    await eventually("it is read-only", () => rig.volume.readOnly);
    assert(rig.logged(/ warn .*vol-n1: its namespace is write protected now: writes fail/));
    await rig.set.detach({ volumes: ["vol-n1"], all: false, force: false });
    await rig.attach([only]);
    assertEquals(rig.volume.readOnly, true);
    only.isProtected = false;
    only.tellNamespaceChange();
    await eventually("it takes writes again", () => !rig.volume.readOnly);
  },
);
