/**
 * A volume with a loop device over a real network of two paths, on which things go wrong, under load that knows what it
 * has to read: nothing is lost, nothing is wrong, and no I/O takes longer than what was promised.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { delay } from "./host/host_fixture.ts";
import { loadErrors, mixedLoad, underLoad } from "../vm/load.ts";
import { LatencyProbe, type Longest } from "./latency_probe.ts";
import { toolTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";
import { Network } from "./network.ts";
import { PauseWatch } from "./pause_watch.ts";
import { CORRUPTION, DEADLINE_TICK_MS, longestOf, SICK, type Trouble, TROUBLES } from "./troubles.ts";

const SEED = Number(Deno.env.get("UMPATH_SEED") ?? Date.now() % 2 ** 31);
/** How long paths come and go, or change their ANA state, each second. */
const FLIPPING_MS = Number(Deno.env.get("UMPATH_FLIPPING_S") ?? "20") * 1000;
const FIO_MS_MAX = 30_000;
/** The storage takes its time, so that reads and writes are in flight on both paths whatever happens when. */
const SERVICE = "delay=5ms..15ms";

/**
 * What the volume's I/O is promised, in milliseconds: short times, so that tests are, and long enough that a path which
 * is only slow on a busy machine is not given up.
 */
const PROMISED = {
  keepAliveMs: 2000,
  ioTimeoutMs: 2000,
  writeHoldMs: 2000,
  /** What two busy CPUs may take, with the load and both ends of the network on them. */
  busyMs: 1000,
};
const TIMES = ["--keep-alive", "2s", "--io-timeout", "2s", "--connect-timeout", "2s"];
const { keepAliveMs: SILENCE_MS, writeHoldMs: WRITE_HOLD_MS, busyMs: BUSY_MS } = PROMISED;
const CONNECT_MS = 2000;
/** How long a path is in trouble at least. */
const LASTS_MS = 2000;

function networkTest(name: string, fn: () => Promise<void>): void {
  toolTest(name, ["fio", "ip", "nft", "nsenter"], fn);
}

/** A target and a host at the two ends of a network. */
function startRig(network: Network): Promise<LoopRig> {
  return LoopRig.start(["--ram", "32M", "--fault", `*:${SERVICE}`], network);
}

/** The device of a volume that has all its paths. */
async function attach(rig: LoopRig, ...words: string[]): Promise<string> {
  const device = await rig.device(...TIMES, ...words);
  await rig.when("live", isWhole);
  return device;
}

const isWhole = ({ paths }: { paths: { state: string }[] }) => paths.every(({ state }) => state === "live");

interface Measured extends Longest {
  /** How long this process stood still at most, and with it perhaps everything else. */
  paused: number;
}

/** Verified load for as long as `during` takes; the longest read and write meanwhile. */
async function measure(rig: LoopRig, device: string, during: () => Promise<void>): Promise<Measured> {
  const load = { ...mixedLoad(device, SEED), bsrange: "4k-32k", iodepth: 8, size: "14m" };
  const probe = new LatencyProbe(device, { offset: "24m", size: "8m" });
  const pauses = new PauseWatch();
  let longest: Longest | null = null;
  try {
    const results = await underLoad(load, during, { timeoutMs: FIO_MS_MAX });
    assertEquals(loadErrors(results), [], `seed ${SEED}\n${rig.log()}`);
  } finally {
    pauses.end();
    longest = await probe.end();
  }
  return { ...longest, paused: pauses.longestMs };
}

/** Tells the longest stall and fails if it is longer than what was promised, pauses of the machine aside. */
function assertStalls(what: string, took: Measured, promised: Longest): void {
  const atMost = { read: promised.read + took.paused, write: promised.write + took.paused };
  const words = (["read", "write"] as const).map((side) =>
    `${side} ${took[side].toFixed(0)} of ${atMost[side].toFixed(0)} ms`
  );
  console.log(`${what}: longest ${words.join(", ")}`);
  assert(took.read <= atMost.read && took.write <= atMost.write, `${what}: longest ${words.join(", ")}; seed ${SEED}`);
}

interface Suffering extends Trouble {
  what: string;
  device: string;
}

async function suffer(network: Network, rig: LoopRig, { what, device, begin, end, isLost, cost }: Suffering) {
  const before = (await rig.volume()).paths.map(({ reconnects }) => reconnects);
  const took = await measure(rig, device, async () => {
    await begin(network);
    const until = Date.now() + LASTS_MS;
    if (isLost === true) await rig.when("lost", ({ paths }) => paths[SICK]!.state === "reconnecting");
    await delay(Math.max(until - Date.now(), 0));
    await end(network);
    await rig.when("live", isWhole);
    const { reads } = (await rig.volume()).paths[SICK]!;
    await rig.when("used again", ({ paths }) => paths[SICK]!.reads > reads);
  });
  const after = (await rig.volume()).paths.map(({ reconnects }) => reconnects);
  assertEquals(after[0], before[0], `the other path was lost; the longest read took ${took.read} ms`);
  assertStalls(what, took, longestOf(cost, PROMISED));
  if (isLost !== "perhaps") assertEquals(after[SICK]! > before[SICK]!, isLost, rig.log());
}

networkTest(`a network path in trouble costs no I/O: ${Object.keys(TROUBLES).join("; ")}; 20 ms more`, async () => {
  await using network = await Network.create();
  await using rig = await startRig(network);
  const device = await attach(rig);
  const slow: Trouble = {
    begin: () => rig.target.fault(`1:${SERVICE}`, "2:delay=25ms..35ms"),
    end: () => rig.target.fault(`*:${SERVICE}`),
    isLost: false,
    cost: "unnoticed",
  };
  for (const [what, trouble] of Object.entries({ ...TROUBLES, "20 ms more": slow })) {
    await suffer(network, rig, { what, device, ...trouble }).catch((error) => {
      throw new Error(`With ${what}\n${rig.log()}`, { cause: error });
    });
  }
});

networkTest("bytes that the network changes past TCP's checksum cost no I/O where there are digests", async () => {
  await using network = await Network.create();
  await using rig = await startRig(network);
  const device = await attach(rig, "--hdr-digest", "--data-digest");
  const took = await measure(rig, device, async () => {
    await CORRUPTION.begin(network);
    await rig.when("hit by digest errors", ({ paths }) => paths[SICK]!.digestErrors > 2);
    await delay(LASTS_MS);
    await CORRUPTION.end(network);
    await rig.when("live", isWhole);
  });
  assertStalls("corruption", took, longestOf("at-once", PROMISED));
  const [healthy, sick] = (await rig.volume()).paths;
  console.log(`corruption: ${sick!.digestErrors} digest errors, ${sick!.reconnects} reconnects`);
  assertEquals([healthy!.digestErrors, healthy!.reconnects], [0, 0]);
});

networkTest(
  "both network paths gone for less than the no-path timeout: I/O waits; for more: it fails, and exactly then",
  async () => {
    const noPathMs = 3000;
    await using network = await Network.create();
    await using rig = await startRig(network);
    const device = await attach(rig, "--no-path-timeout", `${noPathMs}ms`);
    const goneMs = 2500;
    const outage = async (direction: "begin" | "end") => {
      for (const path of [0, 1]) {
        if (direction === "begin") await network.addRule(path, ["from-host", "to-host"], "drop");
        else await network.clearRules(path);
      }
    };
    const took = await measure(rig, device, async () => {
      await outage("begin");
      await rig.when("without a path", ({ state, waiting }) => state === "no-path" && waiting > 0);
      await delay(goneMs - SILENCE_MS);
      await outage("end");
      await rig.when("live", isWhole);
    });
    assert(Math.max(took.read, took.write) > goneMs - SILENCE_MS, "nothing has waited");
    // Silence is noticed, the paths come back after that, and connect again.
    const atMost = goneMs + SILENCE_MS + CONNECT_MS + WRITE_HOLD_MS + BUSY_MS;
    assertStalls(`both paths silent for ${goneMs} ms`, took, { read: atMost, write: atMost });

    await outage("begin");
    await rig.when("without a path", ({ state }) => state === "no-path");
    const began = performance.now();
    const { code, stderr } = await rig.run("dd", `if=${device}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
    const ms = performance.now() - began;
    console.log(`no path for longer: the error came after ${ms.toFixed(0)} ms of ${noPathMs}`);
    assertEquals(code, 1);
    assertMatch(stderr, /Input\/output error/);
    assert(ms >= noPathMs - DEADLINE_TICK_MS && ms <= noPathMs + DEADLINE_TICK_MS + BUSY_MS, `after ${ms} ms`);
    await outage("end");
    await rig.when("live", isWhole);
    await rig.ok("dd", `if=${device}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct");
    // Whoever detaches while nothing is reachable waits for nobody.
    await outage("begin");
    await rig.when("without a path", ({ state }) => state === "no-path");
    const detaches = performance.now();
    assertEquals((await rig.umpath("detach", "--all")).code, 0);
    const detachMs = performance.now() - detaches;
    assert(detachMs < noPathMs, `detach took ${detachMs} ms`);
  },
);

/** Does one thing a second for a while, and every other second at least: `flip` is told how often it was done. */
async function eachSecond(forMs: number, flip: (count: number) => Promise<void>): Promise<number> {
  let count = 0;
  for (const began = Date.now(); Date.now() - began < forMs || count < forMs / 2000; count++) {
    const next = began + count * 1000;
    await delay(Math.max(next - Date.now(), 0));
    await flip(count);
  }
  return count;
}

networkTest("ANA states that change places each second cost no I/O and no path", async () => {
  await using network = await Network.create();
  await using rig = await startRig(network);
  const device = await attach(rig);
  const set = async (path: number, state: string) => {
    const { code, stderr } = await rig.target.target("ana", rig.target.portals[path]!.words, state);
    assertEquals(code, 0, stderr);
  };
  const took = await measure(rig, device, async () => {
    await eachSecond(FLIPPING_MS / 2, async (count) => {
      await set(count % 2, "optimized");
      await set(1 - count % 2, ["inaccessible", "non-optimized", "persistent-loss"][count % 3]!);
    });
  });
  assertStalls("ANA flips each second", took, longestOf("unnoticed", PROMISED));
  for (const { reconnects, reads } of (await rig.volume()).paths) {
    assertEquals(reconnects, 0, rig.log());
    assert(reads > 0);
  }
});

networkTest("listeners and paths that come and go each second cost no I/O", async () => {
  await using network = await Network.create({ paths: 3 });
  await using rig = await startRig(network);
  // Shorter than the time between two losses, or one write could be on each path that goes.
  const holdMs = 600;
  const device = await attach(rig);
  const shorter = await rig.umpath("set", device, `write-hold=${holdMs}ms`);
  assertEquals(shorter.code, 0, shorter.stderr);
  const path = async (verb: "add" | "remove") => {
    const { code, stderr } = await rig.umpath("path", verb, device, rig.target.portals[2]!.words);
    assertEquals(code, 0, stderr);
  };
  const took = await measure(rig, device, async () => {
    const count = await eachSecond(FLIPPING_MS, async (count) => {
      // A listener goes and the one that went before comes back; the third path goes by command, and comes back.
      if (count > 0) await rig.listener("add", 1 - count % 2);
      await rig.when("live", isWhole);
      await rig.listener("remove", count % 2);
      await path(count % 2 === 0 ? "remove" : "add");
    });
    await rig.listener("add", 1 - count % 2);
    if (count % 2 === 1) await path("add");
    await rig.when("live", isWhole);
  });
  assertStalls("ports and paths come and go each second", took, { read: BUSY_MS, write: holdMs + BUSY_MS });
});
