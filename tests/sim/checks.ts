import { PATHS_MAX, RETRIES_MAX, RETRY_DELAY_MS_MAX, TICK_MS } from "../../src/base/limits.ts";
import { CommandPhase } from "../../src/nvme_host/command_table.ts";
import { PathCounter, QueueCounter } from "../../src/multipath/counters.ts";
import { BlockOp } from "../../src/block/request.ts";
import type { Scenario } from "./scenario.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** How late a deadline may be noticed: the tick that is due, and one that just missed it. */
const LATE_MS = 2 * TICK_MS;

/** Admin commands of a path that is at rest: an event request, a keep-alive, a look at the ANA log and one at the namespace. */
const ADMIN_COMMANDS_MAX = 4;
/** How often the deadlines are looked at. */
export const CHECK_MS = 250;
/** No request takes so long where nothing goes wrong. */
const CALM_MS_MAX = 500;

/**
 * How long a request may take at most once nothing changes any more: its path is noticed to be lost, its writes are held,
 * a path comes back, and it is repeated.
 */
export function calmBoundMs({ scenario }: World): number {
  const { ioTimeoutMs, keepAliveMs, writeHoldMs, connectTimeoutMs, reconnectDelayMsMax } = scenario;
  return ioTimeoutMs + 2 * keepAliveMs + writeHoldMs + connectTimeoutMs + reconnectDelayMsMax + 2 * RETRY_DELAY_MS_MAX +
    5_000;
}

/** Nothing outlives its deadline, and nothing starves while all is well. */
export function checkDeadlines(world: World): void {
  const { nowMs } = world.clock;
  const { ioTimeoutMs, noPathTimeoutMs, writeHoldMs } = world.scenario;
  for (const queue of world.queues) {
    for (let path = 0; path < PATHS_MAX; path++) {
      const connection = queue.links[path]?.machine;
      if (connection === undefined || connection.state !== "ready" || queue.isPaused) continue;
      const { commands } = connection;
      for (let command = 0; command < commands.depth; command++) {
        if (commands.phase[command] === CommandPhase.FREE) continue;
        const age = nowMs - commands.submittedAtMs[command];
        if (age <= ioTimeoutMs + LATE_MS || nowMs - queue.resumedAtMs <= LATE_MS) continue;
        throw new Violation(
          "deadline",
          `A command on path ${path} of queue ${queue.index} waits for ${age.toFixed(0)} ms`,
        );
      }
    }
    // A neighbour that stands still may have its requests.
    const isBusy = world.queues.some(({ isPaused }) => isPaused) ||
      world.portals.some(({ index }) => queue.inFlight(index) > 0);
    if (isBusy) world.lastBusyMs[queue.index] = nowMs;
    const noPathMs = noPathTimeoutMs < 0
      ? Infinity
      : noPathTimeoutMs + writeHoldMs + RETRY_DELAY_MS_MAX + LATE_MS + CHECK_MS;
    for (let tag = 0; tag < world.scenario.depth; tag++) {
      if (!queue.driver.isServed(tag)) continue;
      const issuedMs = world.workload.issuedMs(queue, tag);
      const pathlessMs = nowMs - Math.max(issuedMs, world.pathlessSinceMs, world.lastBusyMs[queue.index]);
      const calmMs = nowMs - Math.max(issuedMs, world.lastChangeMs);
      if (pathlessMs > noPathMs) {
        throw new Violation(
          "deadline",
          `No path for ${pathlessMs.toFixed(0)} ms, and no answer to the ${world.workload.words(queue, tag)}`,
        );
      }
      if (calmMs > world.calmBoundMs && world.pathlessSinceMs === Infinity) {
        throw new Violation(
          "progress",
          `All was well for ${calmMs.toFixed(0)} ms, and no answer to the ${world.workload.words(queue, tag)}`,
        );
      }
    }
  }
}

/** Where nothing went wrong nobody had to wait. */
export function checkPrompt({ workload, longestPauseMs, volume }: World): void {
  const lost = volume.paths.find(({ lives, failures }) => lives !== 1 || failures > 0);
  if (lost !== undefined) throw new Violation("progress", `Nothing went wrong, and path ${lost.index} was lost`);
  if (workload.longestMs <= CALM_MS_MAX + longestPauseMs) return;
  throw new Violation("progress", `Nothing went wrong, and a request took ${workload.longestMs.toFixed(0)} ms`);
}

/** A request is sent again so many times at most because it was refused. */
export function checkRefusals(
  { blockSize, transferBytesMax }: Scenario,
  { refusals, op, blocks }: { refusals: number; op: number; blocks: number },
  words: () => string,
): void {
  if (op > BlockOp.WRITE || refusals <= RETRIES_MAX + 1) return;
  const parts = Math.ceil(blocks * blockSize / transferBytesMax);
  if (refusals <= parts * (RETRIES_MAX + 1)) return;
  throw new Violation("progress", `${refusals} refusals of the ${parts} parts of the ${words()}`);
}

/** Nothing is left of requests that are all answered. */
export function checkDrained(world: World): void {
  for (const queue of world.queues) {
    const counters = world.counters[queue.index];
    if (queue.volume.isBusy) throw new Violation("leak", `Queue ${queue.index} is busy without a request`);
    if (queue.driver.inService !== 0) throw new Violation("leak", `Queue ${queue.index} has tags in service`);
    if (queue.ublk.inFlight !== 0) {
      throw new Violation("leak", `Queue ${queue.index} counts ${queue.ublk.inFlight} requests in flight`);
    }
    for (const counter of [QueueCounter.WAITING, QueueCounter.HELD]) {
      const value = counters.queue(counter);
      if (value !== 0) {
        throw new Violation("leak", `Queue ${queue.index} counts ${value} requests that wait or are held`);
      }
    }
    const { header, data } = world.scenario.digests;
    if (world.digestErrors > 0 && !header && !data) {
      throw new Violation("leak", "Digests are wrong that nobody has made");
    }
    for (const portal of world.portals) checkPathDrained(world, queue.index, portal.index);
  }
}

function checkPathDrained(world: World, queue: number, path: number): void {
  const inFlight = world.counters[queue].path(path, PathCounter.IN_FLIGHT);
  if (inFlight !== 0) {
    throw new Violation("leak", `Path ${path} of queue ${queue} counts ${inFlight} commands in flight`);
  }
  const connection = world.queues[queue].links[path]?.machine;
  if (connection !== undefined && connection.inFlight > 0) {
    throw new Violation("leak", `${connection.inFlight} command slots of path ${path} in queue ${queue} are not free`);
  }
}

/** Some time after the last answer the targets have nothing left of what they were asked, and hosts wait for events only. */
export function checkTargetsIdle(world: World): void {
  for (const target of world.targets) {
    for (const { connection, listener, heldByDevice } of target.ios) {
      if (connection.inFlight > 0 || heldByDevice > 0) {
        throw new Violation("leak", `Portal ${listener} has ${connection.inFlight} commands that nobody waits for`);
      }
    }
  }
  for (const { session, index } of world.volume.paths) {
    const inFlight = session?.admin?.inFlight ?? 0;
    if (inFlight > ADMIN_COMMANDS_MAX) {
      throw new Violation("leak", `Path ${index} has ${inFlight} admin commands in flight`);
    }
  }
}

/** Nothing is left of a volume that was taken away. */
export function checkGone(world: World): void {
  for (const queue of world.queues) {
    if (!queue.ublk.isDrained) throw new Violation("leak", `Queue ${queue.index} has tags that are not over`);
    if (queue.links.some((link) => link !== null)) throw new Violation("leak", `Queue ${queue.index} has links`);
  }
  for (const target of world.targets) {
    if (target.sessions > 0) throw new Violation("leak", `A target has ${target.sessions} controllers without a host`);
    if (target.ios.size > 0) {
      throw new Violation("leak", `A target has ${target.ios.size} I/O connections without a host`);
    }
  }
  if (world.network.openSockets > 0) throw new Violation("leak", `${world.network.openSockets} sockets are open`);
}
