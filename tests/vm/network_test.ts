/**
 * A volume on ublk over a network of two cables to the kernel's target, on which things go wrong under verified load:
 * nothing is lost, nothing is wrong, and no I/O takes longer than what was promised.
 */
import { assert, assertEquals } from "@std/assert";
import { LatencyProbe, type Longest } from "../e2e/latency_probe.ts";
import { Network } from "../e2e/network.ts";
import { CORRUPTION, longestOf, SICK, TROUBLES } from "../e2e/troubles.ts";
import type { AttachParams } from "../../src/rpc/host_api.ts";
import { AttachedVolume, makeTarget } from "./attached.ts";
import { eventually } from "./eventually.ts";
import { loadErrors, mixedLoad, newSeed, underLoad } from "./load.ts";
import type { NvmetPort, NvmetTarget } from "./nvmet.ts";
import { vmTest } from "./vm_case.ts";

const WAIT_MS = 30_000;
const GROUP = 1;
const FLIPS = 4;
const SLOW_MS = 20;

/** The volume's times, and what a machine that emulates its processor may take besides, in milliseconds. */
const TIMES = { keepAliveMs: 3000, ioTimeoutMs: 3000, writeHoldMs: 1000 };
const PROMISED = { ...TIMES, busyMs: 4000 };

/** A target at the other end of cables, and a volume over them; taken away in the reverse order. */
class NetworkRig implements AsyncDisposable {
  private constructor(
    readonly network: Network,
    readonly target: NvmetTarget,
    readonly ports: NvmetPort[],
    readonly volume: AttachedVolume,
  ) {}

  static async start(options: Partial<AttachParams> = {}, paths = 2): Promise<NetworkRig> {
    await using made = new AsyncDisposableStack();
    const network = made.use(await Network.create({ paths, isHostHere: true }));
    const ports = network.portals.map(({ hostname, port }) => ({ addr: hostname, port }));
    const target = made.use(await makeTarget({ ports, enter: network.enter("storage") }));
    const timeouts = { ...TIMES, reconnectDelayMs: 100, reconnectDelayMaxMs: 500 };
    const volume = made.use(await AttachedVolume.attach({ ports, ...options, timeouts }));
    await volume.waitState("live");
    made.move();
    return new NetworkRig(network, target, ports, volume);
  }

  /** Verified load and a probe for as long as `during` takes; tells the longest I/O, which must be as promised. */
  async suffer(what: string, promised: Longest, during: () => Promise<void>): Promise<void> {
    const { device } = this.volume;
    const probe = new LatencyProbe(device, { offset: "48m", size: "8m" });
    const load = { ...mixedLoad(device, newSeed()), bsrange: "4k-32k", iodepth: 8, size: "6m" };
    let took: Longest | null = null;
    try {
      assertEquals(loadErrors(await underLoad(load, during)), []);
    } finally {
      took = await probe.end();
    }
    const words = `${what}: longest read ${took.read.toFixed(0)} of ${promised.read} ms, write ${
      took.write.toFixed(0)
    } of ${promised.write} ms`;
    console.log(words);
    assert(took.read <= promised.read && took.write <= promised.write, words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using _network = this.network;
    await using _target = this.target;
    await using _volume = this.volume;
  }
}

/** A path that is lost in silence, and one that is lost at once: on a loop device there are all kinds. */
const KINDS = ["silent drop both ways", "reset of every connection"];

vmTest(`a network path in trouble costs a ublk device no I/O: ${KINDS.join("; ")}`, {}, async () => {
  await using rig = await NetworkRig.start();
  const { network, volume, ports } = rig;
  for (const what of KINDS) {
    const { begin, end, isLost, cost } = TROUBLES[what]!;
    await rig.suffer(what, longestOf(cost, PROMISED), async () => {
      await begin(network);
      if (isLost === true) await volume.waitPath(ports[SICK]!, "reconnecting");
      await end(network);
      await volume.waitState("live");
      const { reads } = await volume.path(ports[SICK]!);
      await eventually(async () => (await volume.path(ports[SICK]!)).reads > reads, WAIT_MS);
    });
  }
  assertEquals((await volume.path(ports[0]!)).reconnects, 0);
});

vmTest("a path that takes 20 ms more is kept, and bytes changed past TCP's checksum cost no I/O", {}, async () => {
  await using rig = await NetworkRig.start({ headerDigest: true, dataDigest: true });
  const { network, volume, ports } = rig;
  await network.setDelay(SICK, SLOW_MS);
  await rig.suffer("20 ms more", longestOf("unnoticed", PROMISED), async () => {
    const { reads } = await volume.path(ports[SICK]!);
    await eventually(async () => (await volume.path(ports[SICK]!)).reads > reads + 20, WAIT_MS);
  });
  await network.setDelay(SICK, 0);
  assertEquals((await volume.path(ports[SICK]!)).reconnects, 0);
  await rig.suffer("corruption", longestOf("at-once", PROMISED), async () => {
    await CORRUPTION.begin(network);
    await eventually(async () => (await volume.path(ports[SICK]!)).digestErrors > 2, WAIT_MS);
    await CORRUPTION.end(network);
    await volume.waitState("live");
  });
  const { digestErrors, reconnects } = await volume.path(ports[0]!);
  assertEquals([digestErrors, reconnects], [0, 0]);
});

vmTest("ANA states that change places each second over four ports cost no I/O and no path", {}, async () => {
  await using rig = await NetworkRig.start({}, 4);
  const { target, volume, ports } = rig;
  await rig.suffer("ANA flips each second", longestOf("unnoticed", PROMISED), async () => {
    for (let flip = 0; flip < FLIPS; flip++) {
      const next = new Promise((resolve) => setTimeout(resolve, 1000));
      await target.setAnaState(flip % 4, GROUP, "optimized");
      for (const [i, state] of (["inaccessible", "non-optimized", "change"] as const).entries()) {
        await target.setAnaState((flip + 1 + i) % 4, GROUP, state);
      }
      await next;
    }
    for (let port = 0; port < ports.length; port++) await target.setAnaState(port, GROUP, "optimized");
    await eventually(async () => (await volume.info()).paths.every(({ ana }) => ana === "optimized"), WAIT_MS);
  });
  for (const { reconnects, reads } of (await volume.info()).paths) assertEquals([reconnects, reads > 0], [0, true]);
});

vmTest("ports that come and go each second cost a ublk device no I/O", {}, async () => {
  await using rig = await NetworkRig.start();
  const { target, volume } = rig;
  await rig.suffer("ports come and go", longestOf("at-once", PROMISED), async () => {
    for (let flip = 0; flip < FLIPS; flip++) {
      const next = new Promise((resolve) => setTimeout(resolve, 1000));
      await target.removePort(flip % 2);
      await next;
      await target.restorePort(flip % 2);
      await volume.waitState("live");
    }
  });
  for (const { reconnects } of (await volume.info()).paths) assert(reconnects > 0);
});
