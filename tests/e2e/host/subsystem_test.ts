/** Two targets of one name: their paths must never become one volume. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, failureOf } from "./host_fixture.ts";
import { testSet } from "./volume_rig.ts";

testSet("attach() leaves a path out whose controller has the ID of another path's", 2, async (rig, target) => {
  const [first, second] = target.portals;
  first.cntlid = second.cntlid = 1;
  const { volume } = await rig.attach([first, second]);
  assertEquals(volume.paths.length, 1);
  const [kept, refused] = volume.paths[0].traddr === first.address ? [first, second] : [second, first];
  const words = `it has controller 1 as "${kept.words}" has: these are two subsystems of one name`;
  assertEquals(rig.warnings, [`Path "${refused.words}" is left out: ${words}`]);
  // Its next controller has an ID of its own.
  refused.cntlid = 2;
  const failure = await failureOf(rig.attach([refused]));
  assertEquals([failure.code, failure.message], [
    "refused",
    `Cannot use path "${refused.words}" for vol-n1: it led to another subsystem of this name before: ` +
    "detach vol-n1 if that is mended",
  ]);
  assertEquals(rig.states(), ["live"]);
  await eventually("no queue of the other is left open", () => refused.ioQueues === 0);
});

testSet("attach() of a path whose controller has the ID of another path's is refused", 2, async (rig, target) => {
  const [first, second] = target.portals;
  first.cntlid = second.cntlid = 1;
  await rig.attach([first]);
  const failure = await failureOf(rig.attach([second]));
  assertEquals([failure.code, failure.message], [
    "refused",
    `Cannot use path "${second.words}" for vol-n1: it has controller 1 as "${first.words}" has: ` +
    "these are two subsystems of one name",
  ]);
});

testSet("attach() leaves a path out whose subsystem has another serial number", 3, async (rig, target) => {
  const [first, second, third] = target.portals;
  await rig.attach([first]);
  second.serial = "FAKE0002";
  const failure = await failureOf(rig.attach([second]));
  assertEquals(failure.code, "refused");
  assertMatch(failure.message, /has the serial number "FAKE0002" and ".*" has "FAKE0001": these are two subsystems/);
  third.serial = "";
  await rig.attach([third]);
  assertEquals(rig.states(), ["live", "live"]);
});

testSet("two paths to two subsystems that are added at once do not both join", 3, async (rig, target) => {
  const [first, ...twins] = target.portals;
  await rig.attach([first]);
  for (const twin of twins) twin.cntlid = 77;
  await rig.attach(twins);
  assertEquals(rig.states(), ["live", "live"]);
  assertMatch(rig.warnings.join(), /is left out: it has controller 77 as /);
});

testSet("a path that comes back to another subsystem is out of use for good", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach(target.portals);
  second.cntlid = rig.paths()[0].cntlid;
  await second.kill();
  await eventually("it is out of use", () => rig.states().join() === "live,disabled");
  assertMatch(rig.paths()[1].reason!, new RegExp(`has controller ${second.cntlid} as "${first.words}" has`));
  assert(rig.log.some((line) => / error .*path 1 is out of use: it has controller/.test(line)));
});

testSet(
  "a path joins with the ID of a controller that is gone, though the host has not missed it",
  2,
  async (rig, target) => {
    const [first, second] = target.portals;
    await rig.attach(target.portals);
    second.cntlid = rig.paths()[0].cntlid;
    // Its connection ends when it is asked whether it is there.
    first.fault = { at: "identify controller", how: "close" };
    await second.kill();
    await eventually("the other one is live again", () => rig.paths()[1].reconnects === 1);
    first.fault = null;
    await eventually("both are live", () => rig.states().join() === "live,live");
  },
);

testSet("a path that connects again with the ID that it had is the same path", 1, async (rig, target) => {
  const [only] = target.portals;
  only.cntlid = 5;
  await rig.attach([only]);
  await only.kill();
  await eventually("it is live again", () => rig.paths()[0].reconnects === 1 && rig.states()[0] === "live");
});

testSet("attach() warns of a volume with the identifiers of another one", 2, async (rig, target) => {
  const [first, second] = target.portals;
  await rig.attach([first]);
  second.nsid = 2;
  await rig.attach([second], { nsid: 2 });
  assertEquals(rig.warnings, [
    `vol-n2 has the same identifier as vol-n1, ${first.uuid}: one of them is a copy with the identifiers of the original`,
  ]);
});
