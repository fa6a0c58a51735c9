/** Paths and targets that go and come back under load. */
import { assert, assertEquals } from "@std/assert";
import { eventually, fio, run } from "./harness.ts";
import { AttachedVolume, makeTarget, NQN, PORTS } from "./attached.ts";
import { loadErrors, newSeed, smallLoad, underLoad } from "./load.ts";
import { PduProxy } from "./pdu_proxy.ts";
import { rebuildSubsystem } from "./subsystem.ts";
import { UBLK_IO_ERRORS, vmTest } from "./vm_case.ts";

const DETOUR = { addr: "127.0.0.3", port: 4420 };
/** After this time half of what fio has in flight is stuck on a stalled path. */
const STALL_MS = 1000;
const STALLED_WRITES_MIN = 8;

vmTest("both ports removed under load and back: I/O waits and goes on", {}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    await target.removePort(0);
    await target.removePort(1);
    await volume.waitState("no-path");
    await eventually(async () => (await volume.info()).waiting > 0, 20_000);
    await target.restorePort(0);
    await volume.waitState("degraded");
    await target.restorePort(1);
    await volume.waitState("live");
    assertEquals((await volume.info()).paths.map((path) => path.reconnects > 0), [true, true]);
  });
  assertEquals(loadErrors(results), []);
});

vmTest("the target destroyed under load and made again: I/O waits and goes on", {}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach();
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    await rebuildSubsystem(target, NQN, async () => {
      await volume.waitState("no-path");
    });
    await volume.waitState("live");
  });
  assertEquals(loadErrors(results), []);
});

vmTest(
  "a path that falls silent under load is given up by its keep-alive, and I/O goes over the other",
  {},
  async () => {
    await using _target = await makeTarget();
    await using detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]! });
    const ports = [PORTS[0]!, DETOUR];
    await using volume = await AttachedVolume.attach({ ports, timeouts: { keepAliveMs: 2000 } });
    const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
      detour.stall();
      await volume.waitPath(DETOUR, "reconnecting");
      const before = (await volume.path(PORTS[0]!)).writes;
      await eventually(async () => (await volume.path(PORTS[0]!)).writes > before + 50, 20_000);
      detour.cut();
      await volume.waitPath(DETOUR, "live");
    });
    assertEquals(loadErrors(results), []);
    assert((await volume.path(DETOUR)).failovers > 0, "nothing was moved off the silent path");
  },
);

vmTest("an I/O queue that falls silent is given up by the I/O timeout", {}, async () => {
  await using _target = await makeTarget();
  let isSilent = false;
  const silence = { bytes: new Uint8Array(0), then: "silence" } as const;
  // Connection 0 is the admin queue, which goes on answering keep-alives.
  const onAnswer = (pdu: Uint8Array, { connection }: { connection: number }) =>
    isSilent && connection > 0 ? silence : pdu;
  await using _detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]!, onAnswer });
  const ports = [PORTS[0]!, DETOUR];
  await using volume = await AttachedVolume.attach({ ports, timeouts: { ioTimeoutMs: 3000 } });
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    isSilent = true;
    await eventually(async () => /not answered within 3 s/.test((await volume.path(DETOUR)).reason ?? ""), 20_000);
    isSilent = false;
    await volume.waitPath(DETOUR, "live");
  });
  assertEquals(loadErrors(results), []);
});

vmTest("writes of a lost path are held for a time that show tells, and no longer", {}, async () => {
  await using _target = await makeTarget();
  await using detour = PduProxy.listen({ listen: DETOUR, target: PORTS[1]! });
  const ports = [PORTS[0]!, DETOUR];
  await using volume = await AttachedVolume.attach({ ports, timeouts: { writeHoldMs: 4000 } });
  const load = { ...smallLoad(volume.device, newSeed()), rw: "randwrite" };
  const results = await underLoad(load, async () => {
    await stallWithWrites(detour, volume.device);
    detour.cut();
    await eventually(async () => (await volume.info()).held > 0, 10_000, 20);
    const heldAt = performance.now();
    await eventually(async () => (await volume.info()).held === 0, 20_000, 20);
    const seconds = (performance.now() - heldAt) / 1000;
    assert(seconds > 2 && seconds < 12, `writes were held for ${seconds} s, not about 4 s`);
    await volume.waitPath(DETOUR, "live");
  });
  assertEquals(loadErrors(results), []);
});

vmTest("without a path for longer than the no-path timeout I/O fails, and recovers with the path", {
  allow: UBLK_IO_ERRORS,
}, async () => {
  await using target = await makeTarget();
  await using volume = await AttachedVolume.attach({ timeouts: { noPathTimeoutMs: 3000 } });
  const results = await underLoad(smallLoad(volume.device, newSeed()), async () => {
    await target.removePort(0);
    await target.removePort(1);
    await volume.waitState("no-path");
  }, { untilError: true });
  assertEquals(results.at(-1)!.jobs[0]!.error, 5, "fio did not see EIO");
  await volume.waitState("no-path");

  const started = performance.now();
  const dd = await run("dd", [`if=${volume.device}`, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"]);
  const seconds = (performance.now() - started) / 1000;
  assertEquals([dd.code, /Input\/output error/.test(dd.stderr)], [1, true], dd.stderr);
  assert(seconds < 20, `dd got its error after ${seconds} s`);

  await target.restorePort(0);
  await target.restorePort(1);
  await volume.waitState("live");
  assertEquals(loadErrors([await fio(smallLoad(volume.device, 1))]), []);
});

/** Stalls the way while there are writes on it: between two runs of fio there are none, and it is let go again. */
async function stallWithWrites(detour: PduProxy, device: string): Promise<void> {
  await eventually(async () => {
    detour.stall();
    await new Promise((resolve) => setTimeout(resolve, STALL_MS));
    if (writesInFlight(device) >= STALLED_WRITES_MIN) return true;
    detour.resume();
    return false;
  }, 30_000);
}

/** Writes that a block device has not completed. */
function writesInFlight(device: string): number {
  const text = Deno.readTextFileSync(`/sys/block/${device.replace("/dev/", "")}/inflight`);
  return Number(text.trim().split(/\s+/)[1]);
}
