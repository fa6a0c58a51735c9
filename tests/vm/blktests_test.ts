/**
 * Scenarios of blktests' nvme group on a ublk device, over the kernel's target, as its tests describe them; the table in
 * tests/README.md says which of them are elsewhere.
 */
import { assert, assertEquals } from "@std/assert";
import { ask } from "./daemon_process.ts";
import { eventually } from "./eventually.ts";
import { AttachedVolume, makeTarget, NQN, pathTo, PORTS } from "./attached.ts";
import { loadErrors, newSeed, smallLoad, underLoad } from "./load.ts";
import { rebuildSubsystem } from "./subsystem.ts";
import { UBLK_IO_ERRORS, vmTest } from "./vm_case.ts";

const ROUNDS = 2;
const WAIT_MS = 30_000;
/** Four ports and two ANA groups. */
const FOUR = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"].map((addr) => ({ addr, port: 4420 }));
const [HERE, THERE] = [1, 2];

/** True if, of all paths, those to these ports have served I/O of late, and each of them. */
async function isServedBy(volume: AttachedVolume, ports: number[]): Promise<boolean> {
  const before = (await volume.info()).paths.map(({ reads, writes }) => reads + writes);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const after = (await volume.info()).paths.map(({ reads, writes }) => reads + writes);
  return after.every((count, i) => (count > before[i]!) === ports.includes(i));
}

vmTest("blktests nvme/040: paths disabled, enabled and removed under I/O cost none of it", {}, async () => {
  await using _target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const second = pathTo(PORTS[1]!);
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await ask("path-disable", { volume: volume.name, path: second, force: false });
      await ask("path-enable", { volume: volume.name, path: second });
      await volume.waitState("live");
    }
    await ask("path-remove", { volume: volume.name, path: second, force: false });
    await ask("path-add", { volume: volume.name, path: second });
    await volume.waitState("live");
  });
  assertEquals(loadErrors(results), []);
});

vmTest(
  "blktests nvme/048: a path serves with the I/O queues that its controller grants, fewer or more",
  {},
  async () => {
    await using target = await makeTarget();
    await using volume = await AttachedVolume.attach();
    const { queues } = await volume.info();
    /** With as many queues as are granted, and no more than the volume has. */
    const comesBack = async (granted: number) => {
      const opened = Math.min(granted, queues);
      const before = (await volume.info()).paths.map(({ reconnects }) => reconnects);
      await target.setQueuesMax(granted);
      await eventually(async () => {
        const { state, paths } = await volume.info();
        return state === "live" &&
          paths.every((path, i) => path.reconnects > before[i]! && path.queues === opened);
      }, WAIT_MS);
    };
    const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
      for (const granted of [queues, queues - 1, queues + 1]) await comesBack(granted);
    });
    assertEquals(loadErrors(results), []);
  },
);

vmTest("blktests nvme/053: namespaces beside the volume's come and go under I/O", {}, async () => {
  const namespaces = [1, 2].map((nsid) => ({ nsid, sizeMiB: 64, blockSize: 4096 as const }));
  await using target = await makeTarget({ namespaces });
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    for (let round = 0; round < 5 * ROUNDS; round++) {
      await target.disableNamespace(2);
      await target.enableNamespace(2);
    }
  });
  assertEquals(loadErrors(results), []);
  for (const { reconnects, errors } of (await volume.info()).paths) assertEquals([reconnects, errors], [0, 0]);
});

vmTest("blktests nvme/057: ANA failover and failback over four ports under I/O", {}, async () => {
  await using target = await makeTarget({ ports: FOUR });
  await using volume = await AttachedVolume.attach({ ports: FOUR });
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    for (const port of [0, 1, 2, 3, 0]) {
      await target.setAnaState(port, HERE, "optimized");
      for (const other of [0, 1, 2, 3].filter((other) => other !== port)) {
        await target.setAnaState(other, HERE, "inaccessible");
      }
      await eventually(() => isServedBy(volume, [port]), WAIT_MS);
    }
  });
  assertEquals(loadErrors(results), []);
});

vmTest(
  "blktests nvme/058: a namespace that moves fast between ANA groups on four ports keeps its I/O",
  {},
  async () => {
    await using target = await makeTarget({ ports: FOUR });
    // Each group can be had at two of the ports.
    for (let port = 0; port < FOUR.length; port++) {
      await target.setAnaState(port, HERE, port < 2 ? "optimized" : "inaccessible");
      await target.setAnaState(port, THERE, port < 2 ? "inaccessible" : "optimized");
    }
    await using volume = await AttachedVolume.attach({ ports: FOUR });
    const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
      for (let round = 0; round < 5 * ROUNDS; round++) {
        await target.setAnaGroup(1, round % 2 === 0 ? THERE : HERE);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      // However little of that a busy host has seen: once there is peace it follows.
      for (const group of [THERE, HERE]) {
        await target.setAnaGroup(1, group);
        await eventually(() => isServedBy(volume, group === HERE ? [0, 1] : [2, 3]), WAIT_MS);
      }
    });
    assertEquals(loadErrors(results), []);
    for (const { reconnects } of (await volume.info()).paths) assertEquals(reconnects, 0);
  },
);

/** What a device leaves in the kernel's log whose attach was refused while it was being made, and read. */
const ATTACH_IO_ERRORS = [...UBLK_IO_ERRORS, /Buffer I\/O error on dev ublkb\d/];

vmTest("blktests nvme/060: ports that vanish again and again while a volume is attached", {
  allow: ATTACH_IO_ERRORS,
}, async () => {
  await using target = await makeTarget();
  let isOver = false;
  const resetting = (async () => {
    for (; !isOver; await new Promise((resolve) => setTimeout(resolve, 100))) {
      for (const port of [0, 1]) {
        await target.removePort(port);
        await target.restorePort(port);
      }
    }
  })();
  try {
    for (let round = 0; round < ROUNDS; round++) {
      // Refused in words, or a volume that comes to life when there is peace.
      const volume = await AttachedVolume.attach().catch((error: Error) => error);
      if (volume instanceof Error) {
        assert(/^Cannot (connect to|make the device of) /.test(volume.message), volume.message);
      } else await volume[Symbol.asyncDispose]();
    }
  } finally {
    isOver = true;
    await resetting;
  }
  await using volume = await AttachedVolume.attach();
  await volume.waitState("live");
});

vmTest("blktests nvme/061: a target torn down and set up again and again under I/O", {}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await rebuildSubsystem(target, NQN, () => volume.waitState("no-path"));
      await volume.waitState("live");
    }
  });
  assertEquals(loadErrors(results), []);
});
