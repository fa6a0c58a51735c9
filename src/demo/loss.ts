/** The middle of the demo: an application reads and writes while one of the paths goes and comes back. */
import { alignRows, count } from "../base/text.ts";
import { formatDuration } from "../base/units.ts";
import type { LoadCounts } from "../block/load_control.ts";
import type { PathInfo, VolumeInfo } from "../rpc/host_api.ts";
import type { Claims } from "./claims.ts";
import { type Load, LOAD_DEPTH, LOAD_UNIT_BYTES } from "./load.ts";
import type { LossFigures } from "./report.ts";
import type { Stage } from "./stage.ts";
import { portalWords, type Storage } from "./storage.ts";
import { duration, type Story } from "./story.ts";
import type { DemoVolume } from "./volume.ts";

/** What the load counts apart; 0 is before all that. */
export const LossWindow = { BEFORE: 1, DURING: 2, AFTER: 3, OVER: 4 } as const;

/** How long the load runs on both paths before one goes, beyond the write hold while it is away, and when it is back. */
const CALM_MS = 2_000;
/** Longer than anything here takes, the longest pause between two attempts to connect included. */
const WAIT_MS_MAX = 60_000;
/** A path is in use if it has done so many commands more. */
const USE_COMMANDS = 100;

export interface LossOptions {
  stage: Stage;
  story: Story;
  claims: Claims;
  storage: Storage;
  volume: DemoVolume;
  load: Load;
  describe(volume: VolumeInfo): string;
}

/** Takes the last path away and gives it back under load. Nothing may fail, and nothing may stand still. */
export async function losePath(options: LossOptions): Promise<LossFigures> {
  const { stage, story, load, volume, storage } = options;
  const lost = storage.portals.length - 1;
  const started = await volume.info();
  const size = `${LOAD_UNIT_BYTES / 1024} KiB`;
  story.event(`An application reads and writes ${size} at random, ${LOAD_DEPTH} at a time; each read is compared`);
  load.enterWindow(LossWindow.BEFORE);
  load.start();
  await usePath(options, lost);
  await stage.pause(CALM_MS);
  load.check();

  const lostAtMs = performance.now();
  load.enterWindow(LossWindow.DURING);
  const down = await takeAway(options, lost);
  const noticedMs = performance.now() - lostAtMs;
  const held = await outlastHold(options, lostAtMs, down);
  const moved = sum((await volume.info()).paths, (path) => path.failovers) -
    sum(started.paths, (path) => path.failovers);
  const awayMs = performance.now() - lostAtMs;
  tellDuring(options);

  const backMs = await giveBack(options, lost);
  load.enterWindow(LossWindow.AFTER);
  tellWindow(options);
  await usePath(options, lost);
  await stage.pause(CALM_MS);
  await load.stop(stage);
  load.enterWindow(LossWindow.OVER);
  tellEnd(options);
  return { path: lost, reason: down.paths[lost]!.reason ?? "", noticedMs, awayMs, backMs, moved, held };
}

/** Takes the portal away and waits until the path is lost; the volume at that time. */
async function takeAway({ stage, story, storage, volume, describe }: LossOptions, lost: number): Promise<VolumeInfo> {
  const startMs = performance.now();
  const startSeconds = story.seconds;
  const { command, words } = await storage.lose(lost);
  if (command !== null) story.command(command, startSeconds);
  story.event(words);
  const down = await stage.eventually(`path ${lost} is lost`, async () => {
    const now = await volume.info();
    const path = now.paths[lost]!;
    return path.state !== "live" && path.queues === 0 ? now : null;
  }, WAIT_MS_MAX);
  story.event(
    `Path ${lost} is lost: ${down.paths[lost]!.reason}. umpath knew within ` +
      `${duration(performance.now() - startMs)} of the start of that command`,
  );
  if (volume.device !== null) story.command(`umpath show ${volume.name}`);
  story.detail(describe(down));
  story.detail("(Its counters begin at attach, those of the table below with the application.)");
  return down;
}

/** Waits until no write can be held any more, and a while longer; how many were held at most. */
async function outlastHold({ stage, load, volume }: LossOptions, lostAtMs: number, down: VolumeInfo): Promise<number> {
  const untilMs = lostAtMs + (down.timeouts.writeHoldMs ?? 0) + CALM_MS;
  let held = down.held;
  while (performance.now() < untilMs) {
    await stage.pause(Math.min(100, untilMs - performance.now()));
    held = Math.max(held, (await volume.info()).held);
    load.check();
  }
  return held;
}

function tellDuring({ story, claims, load }: LossOptions): void {
  const { reads, writes } = load.counts(LossWindow.DURING);
  claims.demand(reads > 0 && writes > 0, "the application stands still while one of two paths is away");
  story.event("The application goes on over the other path");
}

/** What the load did while the path was away: the figures of the table below, from the same moment on. */
function tellWindow({ story, load }: LossOptions): void {
  const { reads, writes, longestPauseMs } = load.counts(LossWindow.DURING);
  const answered = `${count(reads + writes, "request")} of the application were answered`;
  story.event(`While it was away, ${answered}; the longest pause between two answers was ${duration(longestPauseMs)}`);
}

/** Gives the portal back and waits until the path is live; how long that took, in milliseconds. */
async function giveBack({ stage, story, storage, volume }: LossOptions, lost: number): Promise<number> {
  const startSeconds = story.seconds;
  const { command, words } = await storage.restore(lost);
  const startMs = performance.now();
  if (command !== null) story.command(command, startSeconds);
  story.event(words);
  await stage.eventually(
    `path ${lost} is live again`,
    async () => (await volume.info()).paths[lost]!.state === "live",
    WAIT_MS_MAX,
  );
  const backMs = performance.now() - startMs;
  const { timeouts } = await volume.info();
  const pauses = `${formatDuration(timeouts.reconnectDelayMs)} to ${formatDuration(timeouts.reconnectDelayMaxMs)}`;
  const back = `${duration(backMs)} after ${portalWords(storage.portals[lost]!)} came back`;
  story.event(`Path ${lost} is live again, ${back}: umpath retries a lost path every ${pauses}`);
  return backMs;
}

function tellEnd({ story, load }: LossOptions): void {
  const windows = [LossWindow.BEFORE, LossWindow.DURING, LossWindow.AFTER].map((window) => load.counts(window));
  const requests = sum(windows, ({ reads, writes }) => reads + writes);
  story.event(
    `The application ends: ${count(requests, "request")}, none failed, and every read returned what was written last`,
  );
}

/** Waits until so many more commands have gone over a path. */
async function usePath({ stage, volume, load }: LossOptions, index: number): Promise<void> {
  const done = (path: PathInfo) => path.reads + path.writes;
  const start = done((await volume.info()).paths[index]!);
  await stage.eventually(`path ${index} is in use`, async () => {
    load.check();
    return done((await volume.info()).paths[index]!) >= start + USE_COMMANDS;
  }, WAIT_MS_MAX);
}

/** Why the longest write took as long as it did, if writes were held. */
export function heldWords({ held, moved }: Pick<LossFigures, "held" | "moved">, holdMs: number | null): string | null {
  if (holdMs === null || held === 0) return null;
  return `${count(moved, "request")} in flight on the lost path moved to the other path: reads at once, ` +
    `${count(held, "write")} after a hold of ${duration(holdMs)}. Until then the lost controller might still have ` +
    "executed them, over newer data. That is the longest write above.";
}

/** What the load did with both paths, with one, and with both again: a table. `umpath show` counts since attach. */
export function loadTable(load: Pick<Load, "counts">): string[] {
  const row = (name: string, { reads, writes, longestReadMs, longestWriteMs }: LoadCounts) => {
    return [name, String(reads), duration(longestReadMs), String(writes), duration(longestWriteMs)];
  };
  return alignRows([
    ["of the application", "reads", "longest", "writes", "longest"],
    row("both paths", load.counts(LossWindow.BEFORE)),
    row("one path away", load.counts(LossWindow.DURING)),
    row("both again", load.counts(LossWindow.AFTER)),
  ], { right: [1, 2, 3, 4] });
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
