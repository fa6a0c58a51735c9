/**
 * What each policy makes of paths that are not alike: a closed loop of requests over paths with a delay and a rate each,
 * on a simulated clock, with the measurements that the volume takes. It is what `docs/policies.md` says.
 */
import { assert } from "@std/assert";
import { Prng } from "../../../src/base/prng.ts";
import { BlockOp } from "../../../src/block/request.ts";
import { Counters, PathCounter } from "../../../src/multipath/counters.ts";
import { PathMeasurements } from "../../../src/multipath/path_measurements.ts";
import { PathProbe } from "../../../src/multipath/path_probe.ts";
import { POLICIES } from "../../../src/multipath/policies.ts";
import type { Candidates, Policy } from "../../../src/multipath/policy.ts";
import type { PolicyName } from "../../../src/multipath/policy_names.ts";
import { SlowPaths } from "../../../src/multipath/slow_paths.ts";
import { CommandTable } from "../../../src/nvme_host/command_table.ts";

/** A path: there and back takes `delayMs`, more or less, and a command has the path to itself for `serviceMs`. */
interface SimulatedPath {
  delayMs: number;
  serviceMs: number;
  /** What waits leaves together once the path is free, and is paid for afterwards, as a shaped link lets it. */
  isShaped?: boolean;
  /** One answer of so many takes `delayMs` and 5 ms more. */
  hiccups?: number;
}

const BYTES = 4096;
const START_MS = 1000;
const LAN: SimulatedPath = { delayMs: 0.1, serviceMs: 0.01 };
const FAR: SimulatedPath = { delayMs: 20.1, serviceMs: 0.01 };
const NARROW: SimulatedPath = { delayMs: 0.1, serviceMs: 0.1 };

const SHAPED: SimulatedPath = { delayMs: 0.1, serviceMs: 0.5, isShaped: true };
const HICCUPS: SimulatedPath = { ...LAN, serviceMs: 0.03, hiccups: 200 };
const BUSY_FAR: SimulatedPath = { ...HICCUPS, delayMs: 20.1 };

const NETWORKS: Record<string, SimulatedPath[]> = {
  alike: [LAN, LAN],
  far: [LAN, FAR],
  narrow: [LAN, NARROW],
  shaped: [{ ...LAN, serviceMs: 0.03 }, SHAPED],
  "shaped beside hiccups": [HICCUPS, { ...SHAPED, hiccups: 200 }],
  hiccups: [HICCUPS, HICCUPS],
  "far beside hiccups": [HICCUPS, BUSY_FAR],
};

class Simulation implements Candidates {
  readonly preferred = -1;
  readonly paths: number;
  readonly shares: number[];
  readonly latencies: number[] = [];
  nowMs = START_MS;
  readonly #network: SimulatedPath[];
  readonly #counters = new Counters();
  readonly #measured = new PathMeasurements(this.#counters);
  readonly #commands: CommandTable[];
  readonly #freeAtMs: number[];
  readonly #batch: number[];
  readonly #prng = new Prng(5);
  readonly #isDemoting: boolean;
  readonly #slow = new SlowPaths();
  readonly #probe = new PathProbe();
  #slowPaths = 0;
  #nextLookMs = START_MS;
  /** When which path became slow or was so no more, in seconds from the start. */
  readonly changes: { path: number; isSlow: boolean; atSeconds: number }[] = [];
  #pending: { path: number; command: number; atMs: number }[] = [];

  constructor(network: SimulatedPath[], { isDemoting = false } = {}) {
    this.#network = network;
    this.#isDemoting = isDemoting;
    this.paths = network.length;
    this.shares = network.map(() => 0);
    this.#commands = network.map(() => new CommandTable(128));
    this.#freeAtMs = network.map(() => 0);
    this.#batch = network.map(() => 0);
    this.#commands.forEach((commands, path) => this.#measured.begin(path, commands));
  }

  rank(path: number): number {
    return (this.#slowPaths & (1 << path)) !== 0 ? 2 : 1;
  }

  weight(): number {
    return 1;
  }

  room(path: number): number {
    return this.#commands[path].depth - this.#commands[path].inUse;
  }

  inFlight(path: number): number {
    return this.#commands[path].inUse;
  }

  expectedMs(path: number): number {
    return this.#measured.expectedMs(path, BlockOp.READ, BYTES, this.nowMs);
  }

  lastUsedMs(path: number): number {
    return this.#measured.lastUsedMs(path, BlockOp.READ);
  }

  /** Keeps `depth` requests in flight until `count` were answered; only the latter half is looked at. */
  run(name: PolicyName, { depth, count }: { depth: number; count: number }): this {
    const policy = POLICIES[name]();
    while (this.#pending.length < depth) this.#submit(this.#select(policy));
    for (let i = 0; i < count; i++) {
      const next = this.#pending.reduce((first, each) => each.atMs < first.atMs ? each : first);
      this.#pending = this.#pending.filter((each) => each !== next);
      this.nowMs = next.atMs;
      this.#answer(next.path, next.command, i >= count / 2);
      if (this.#isDemoting && this.nowMs >= this.#nextLookMs) this.#look();
      this.#submit(this.#select(policy));
    }
    this.latencies.sort((a, b) => a - b);
    return this;
  }

  #select(policy: Policy): number {
    const probed = this.#slowPaths === 0 ? -1 : this.#probe.select(this, this.#slowPaths);
    return probed >= 0 ? probed : policy.select(this);
  }

  #look(): void {
    this.#nextLookMs = this.nowMs + 500;
    const count = (path: number, counter: number) => this.#counters.path(path, counter);
    const totals = this.#network.map((_, path) => ({
      rank: 1,
      inFlight: count(path, PathCounter.IN_FLIGHT),
      reads: count(path, PathCounter.READS),
      readMs: count(path, PathCounter.READ_MS_SUM),
      writes: 0,
      writeMs: 0,
    }));
    this.#slow.handleLook(totals, this.nowMs);
    this.#slowPaths = this.#slow.mask;
    for (const { path, isSlow } of this.#slow.takeChanges()) {
      this.changes.push({ path, isSlow, atSeconds: this.elapsedMs / 1000 });
    }
  }

  #submit(path: number): void {
    const { delayMs } = this.#network[path];
    const commands = this.#commands[path];
    const command = commands.allocate();
    commands.dataBytes[command] = BYTES;
    commands.submittedAtMs[command] = this.nowMs;
    this.#measured.handleSubmitted(path, command, BlockOp.READ, this.nowMs);
    const { isShaped = false, hiccups = 0 } = this.#network[path];
    const leavesAtMs = isShaped ? this.#leavesShaped(path) : this.#leaves(path);
    const hiccupMs = hiccups > 0 && this.#prng.below(hiccups) === 0 ? 5 : 0;
    this.#pending.push({ path, command, atMs: leavesAtMs + delayMs * (0.9 + 0.2 * this.#prng.unit()) + hiccupMs });
  }

  #leaves(path: number): number {
    const { serviceMs } = this.#network[path];
    return this.#freeAtMs[path] = Math.max(this.#freeAtMs[path], this.nowMs) + serviceMs * (0.5 + this.#prng.unit());
  }

  #leavesShaped(path: number): number {
    const { serviceMs } = this.#network[path];
    if (this.nowMs >= this.#freeAtMs[path]) {
      // What has left together last keeps the path busy for as long as it was.
      this.#freeAtMs[path] += this.#batch[path] * serviceMs;
      this.#batch[path] = 0;
    }
    if (this.nowMs >= this.#freeAtMs[path]) {
      this.#freeAtMs[path] = this.nowMs + serviceMs;
      return this.nowMs;
    }
    this.#batch[path]++;
    return this.#freeAtMs[path];
  }

  #answer(path: number, command: number, isCounted: boolean): void {
    const commands = this.#commands[path];
    if (isCounted) {
      this.latencies.push(this.nowMs - commands.submittedAtMs[command]);
      this.shares[path]++;
    }
    commands.status[command] = 0;
    this.#measured.handleAnswered(path, command, BlockOp.READ, this.nowMs);
    this.#counters.addPath(path, PathCounter.READS, 1);
    commands.release(command);
  }

  get elapsedMs(): number {
    return this.nowMs - START_MS;
  }

  /** The latency that so many percent of the requests do not exceed, in milliseconds. */
  percentile(percent: number): number {
    return this.latencies[Math.min(Math.floor(this.latencies.length * percent / 100), this.latencies.length - 1)];
  }

  get words(): string {
    const percentiles = [50, 99, 99.9].map((percent) => `p${percent} ${this.percentile(percent).toFixed(3)} ms`);
    return `${percentiles.join(", ")}, shares ${this.shares.join(" and ")}`;
  }
}

const COUNT = 40_000;

function simulate(name: PolicyName, network: SimulatedPath[], depth: number): Simulation {
  return new Simulation(network).run(name, { depth, count: COUNT });
}

for (const name of ["round-robin", "queue-depth", "service-time"] as const) {
  Deno.test(`${name} uses paths that are alike about alike`, () => {
    for (const depth of [1, 8, 32]) {
      const { shares, words } = simulate(name, [LAN, LAN], depth);
      const part = shares[0] / (shares[0] + shares[1]);
      assert(part > 0.35 && part < 0.65, `depth ${depth}: ${words}`);
    }
  });
}

Deno.test("a path that is 20 ms farther costs round-robin half of the requests, queue-depth one in 200, service-time none", () => {
  const turns = simulate("round-robin", [LAN, FAR], 8);
  const depth = simulate("queue-depth", [LAN, FAR], 8);
  const time = simulate("service-time", [LAN, FAR], 8);
  const said = `round-robin ${turns.words}; queue-depth ${depth.words}; service-time ${time.words}`;
  assert(turns.percentile(51) > 10, said);
  assert(depth.percentile(99) < 1 && depth.percentile(99.9) > 10, said);
  assert(time.percentile(99.9) < 1, said);
  assert(time.percentile(99) * 5 < turns.percentile(99) && time.percentile(99) <= depth.percentile(99) * 1.1, said);
});

Deno.test("service-time looks at a path that it does not use, and uses it as soon as it is as good as the other", () => {
  const network = [{ ...LAN }, { ...FAR }];
  const simulation = simulate("service-time", network, 1);
  assert(simulation.shares[1] > 0 && simulation.shares[1] < 10, simulation.words);
  const before = simulation.shares[1];
  network[1].delayMs = LAN.delayMs;
  simulation.run("service-time", { depth: 1, count: COUNT });
  assert(simulation.shares[1] - before > COUNT / 8, simulation.words);
});

Deno.test("service-time and queue-depth use a path with a tenth of the rate for about a tenth, round-robin for half", () => {
  const turns = simulate("round-robin", [LAN, NARROW], 32);
  const depth = simulate("queue-depth", [LAN, NARROW], 32);
  const time = simulate("service-time", [LAN, NARROW], 32);
  const said = `round-robin ${turns.words}; queue-depth ${depth.words}; service-time ${time.words}`;
  assert(time.shares[1] < 0.2 * COUNT / 2 && time.shares[1] > 0.02 * COUNT / 2, said);
  assert(time.percentile(99) < turns.percentile(99) / 3, said);
});

Deno.test("service-time keeps its head where answers hiccup, and beside a shaped path", () => {
  for (const name of ["shaped", "shaped beside hiccups", "far beside hiccups"]) {
    const depth = simulate("queue-depth", NETWORKS[name], 8);
    const time = simulate("service-time", NETWORKS[name], 8);
    const said = `${name}: queue-depth ${depth.words}; service-time ${time.words}`;
    assert(time.percentile(99) < depth.percentile(99) / 3, said);
    assert(time.percentile(99.9) <= depth.percentile(99.9) * 1.1, said);
    assert(time.elapsedMs < depth.elapsedMs, said);
  }
  for (const depth of [1, 8, 32]) {
    const turns = simulate("round-robin", NETWORKS.hiccups, depth);
    const time = simulate("service-time", NETWORKS.hiccups, depth);
    const said = `depth ${depth}: round-robin ${turns.words}; service-time ${time.words}`;
    assert(time.elapsedMs < turns.elapsedMs * 1.15 && Math.min(...time.shares) > COUNT / 2 / 4, said);
  }
});

Deno.test("a slow path that is demoted costs no policy its p99, and is used again once it has recovered", () => {
  // service-time hardly uses such a path by itself.
  for (const name of ["round-robin", "queue-depth", "weighted"] as const) {
    const network = [{ ...LAN }, { ...FAR }];
    const simulation = new Simulation(network, { isDemoting: true }).run(name, { depth: 8, count: 400_000 });
    const [first] = simulation.changes;
    assert(simulation.changes.length === 1 && first.path === 1 && first.isSlow && first.atSeconds < 10, name);
    assert(simulation.percentile(99) < 1, `${name}: ${simulation.words}`);
    assert(simulation.shares[1] > 0 && simulation.shares[1] < 0.01 * 200_000, `${name}: ${simulation.words}`);
    network[1].delayMs = LAN.delayMs;
    const recoveredAt = simulation.elapsedMs / 1000;
    simulation.run(name, { depth: 8, count: 1_000_000 });
    const second = simulation.changes[1];
    assert(simulation.changes.length === 2 && !second.isSlow && second.atSeconds - recoveredAt < 6, name);
  }
});

Deno.test("paths that differ little are never demoted, and one that is slow only under load hardly flaps", () => {
  for (const name of ["round-robin", "queue-depth", "service-time", "weighted"] as const) {
    const near = [LAN, { ...LAN, delayMs: 0.3 }];
    for (const network of [NETWORKS.alike, near, NETWORKS.hiccups]) {
      for (const depth of [1, 32]) {
        const { changes } = new Simulation(network, { isDemoting: true }).run(name, { depth, count: 200_000 });
        assert(changes.length === 0, `${name}: ${JSON.stringify(changes)}`);
      }
    }
  }
  const simulation = new Simulation([LAN, { ...NARROW, serviceMs: 0.3 }], { isDemoting: true });
  const { changes, elapsedMs } = simulation.run("round-robin", { depth: 32, count: 3_000_000 });
  assert(changes.length > 1 && changes.length <= 8, `${elapsedMs / 1000} s: ${JSON.stringify(changes)}`);
});

if (import.meta.main) {
  for (const [what, network] of Object.entries(NETWORKS)) {
    for (const depth of [1, 8, 32]) {
      for (const name of ["round-robin", "queue-depth", "service-time"] as const) {
        const simulation = simulate(name, network, depth);
        const rate = COUNT / simulation.elapsedMs;
        console.log(what, depth, name, simulation.words, `${rate.toFixed(1)} k/s`);
      }
    }
  }
}
