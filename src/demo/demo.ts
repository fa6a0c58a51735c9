/** Runs the demo from start to end, and whatever happens, takes back all that it has made. */
import { messageOf, UmpathError } from "../base/errors.ts";
import { midSentence } from "../base/text.ts";
import type { DeviceChoice, VolumeInfo } from "../rpc/host_api.ts";
import { ensureRunDir, type RunDir, runDirAt } from "../rpc/run_dir.ts";
import { Claims, Untrue } from "./claims.ts";
import { type FileSystemKind, findFileSystem, programPath } from "./file_system.ts";
import { leftovers, processesOf } from "./leftovers.ts";
import type { DemoReport } from "./report.ts";
import { Road } from "./road.ts";
import { freePortals, ServedStorage, servedWords } from "./served_storage.ts";
import { Interrupted, Stage } from "./stage.ts";
import { portalWords, type Storage } from "./storage.ts";
import { Story, StoryUnread } from "./story.ts";

const SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** What ends by itself gets so long. */
const SETTLE_MS_MAX = 5_000;
const LOG_TAIL_LINES = 15;
const SIZE_BYTES = 256 << 20;
/** The load's file, or its share of the device. */
const LOAD_BYTES = 32 << 20;

export interface DemoOptions {
  device: DeviceChoice;
  /** The words that start umpath. */
  program: readonly string[];
  /** Throws {@linkcode StoryUnread} if nobody reads any more. */
  print(line: string): void;
  /** Remarks on what goes wrong, for people. */
  remark(line: string): void;
  /** What could not be taken back. */
  warn(message: string): void;
  colours: boolean;
  /** A volume as `umpath show` tells it. */
  describe(volume: VolumeInfo): string;
  /** Bytes that the load works on; 32 MiB unless told. */
  loadBytes?: number;
  /** The storage system; `umpath serve` unless told. */
  storage?: (stage: Stage, story: Story) => Promise<Storage>;
}

/**
 * Runs the demo.
 *
 * @throws Interrupted if the user wanted no more.
 * @throws UmpathError for everything that was not as it should be.
 */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const { folder, runDir } = privateFolder();
  const demo = new Demo(options, folder, runDir);
  const stopListening = onSignals((signal) => demo.interrupt(signal));
  try {
    return await demo.run();
  } finally {
    stopListening();
  }
}

/** A folder of the demo's own with a run folder in it; it is removed again if there can be none. */
function privateFolder(): { folder: string; runDir: RunDir } {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-demo-" });
  try {
    return { folder, runDir: ensureRunDir(runDirAt(`${folder}/run`)) };
  } catch (error) {
    Deno.removeSync(folder, { recursive: true });
    throw error;
  }
}

/** Whose log it is, and its lines. */
type LogTail = readonly [who: string, lines: readonly string[]];

class Demo {
  readonly #options: DemoOptions;
  readonly #folder: string;
  readonly #runDir: RunDir;
  readonly #stage: Stage;
  readonly #story: Story;
  readonly #claims = new Claims();
  #storage: Storage | null = null;
  #road: Road | null = null;

  constructor(options: DemoOptions, folder: string, runDir: RunDir) {
    this.#options = options;
    this.#folder = folder;
    this.#runDir = runDir;
    this.#stage = new Stage({ UMPATH_RUN_DIR: runDir.path, PATH: programPath(), LC_ALL: "C" });
    this.#story = new Story(options);
  }

  /** Cleaning up takes its time: whoever presses Ctrl-C twice is told so. */
  interrupt(signal: Deno.Signal): void {
    const isFirst = !this.#stage.signal.aborted;
    this.#stage.interrupt(signal);
    this.#options.remark(isFirst ? "\nEnding early: taking everything back" : "Still taking everything back");
  }

  async run(): Promise<DemoReport> {
    try {
      const report = await this.#takeRoad();
      await this.#end();
      const seconds = Math.round(this.#story.seconds * 10) / 10;
      const claims = this.#claims.checked;
      this.#story.event(`Done: ${claims} claims were checked, every figure was measured, and nothing is left behind`);
      return { seconds, claimsChecked: claims, ...report };
    } catch (thrown) {
      const error = this.#stage.signal.aborted ? this.#stage.signal.reason as Error : thrown;
      // The logs are in the folder that is removed. Nothing is printed before all is taken back: printing may fail.
      const logs = this.#logs();
      const left = await this.#cleanUp();
      for (const words of left) this.#options.warn(words);
      if (left.length === 0) this.#options.remark("Nothing is left behind");
      if (!(error instanceof Interrupted)) this.#tell(error, logs);
      throw forPeople(error);
    }
  }

  async #takeRoad(): Promise<Omit<DemoReport, "seconds" | "claimsChecked">> {
    const { device, program, describe } = this.#options;
    const fileSystem = findFileSystem();
    const startStorage = this.#options.storage ?? ((stage, story) => serve(stage, story, program, fileSystem));
    this.#storage = await startStorage(this.#stage, this.#story);
    this.#story.pause();
    this.#road = new Road({
      ...{ stage: this.#stage, story: this.#story, claims: this.#claims, storage: this.#storage },
      ...{ folder: this.#folder, runDir: this.#runDir, program, device, fileSystem, describe },
      loadBytes: this.#options.loadBytes ?? LOAD_BYTES,
    });
    return await this.#road.take();
  }

  /** The way back of a demo that went well: nothing of it may fail, and nothing may be left. */
  async #end(): Promise<void> {
    await this.#storage!.close();
    this.#story.event("The storage system has ended");
    const failures = await this.#stage.takeBack();
    this.#claims.demand(failures.length === 0, failures.join("; "));
    const left = await this.#leftovers();
    this.#claims.demand(left.length === 0, `something is left behind: ${left.join("; ")}`);
    Deno.removeSync(this.#folder, { recursive: true });
    this.#story.event("No process, mount, device, connection, socket or file of all this is left");
  }

  /** What is left once everything has had the time to end by itself. */
  async #leftovers(): Promise<string[]> {
    const portals = this.#storage?.portals ?? [];
    const device = this.#road?.volume?.device ?? null;
    const find = () => leftovers({ folder: this.#folder, runDir: this.#runDir.path, device, portals });
    for (const deadlineMs = performance.now() + SETTLE_MS_MAX;;) {
      const left = find();
      if (left.length === 0 || performance.now() > deadlineMs) return left;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The way back of a demo that went wrong: what cannot be taken back, in words. */
  async #cleanUp(): Promise<string[]> {
    const failures = await this.#stage.takeBack();
    let left = await this.#leftovers();
    if (left.length > 0) {
      for (const { pid } of processesOf(this.#runDir.path)) Deno.kill(pid, "SIGKILL");
      left = await this.#leftovers();
    }
    if (left.length === 0) Deno.removeSync(this.#folder, { recursive: true });
    else left.push(`${this.#folder} is kept`);
    return [...failures, ...left.map((words) => `Left behind: ${words}`)];
  }

  #logs(): LogTail[] {
    return [["daemon", this.#road?.volume?.log() ?? []], ["storage system", this.#storage?.log() ?? []]];
  }

  /** What went wrong. A reader of the story that has left hears nothing more. */
  #tell(error: unknown, logs: readonly LogTail[]): void {
    if (error instanceof StoryUnread) return;
    this.#story.failure(`Not as it should be: ${messageOf(error)}`);
    for (const [who, lines] of logs) {
      if (lines.length === 0) continue;
      this.#options.remark(`The last lines of the ${who}'s log:`);
      for (const line of lines.slice(-LOG_TAIL_LINES)) this.#options.remark(`  ${line}`);
    }
  }
}

/** The storage system that the demo brings along. */
async function serve(
  stage: Stage,
  story: Story,
  program: readonly string[],
  fileSystem: FileSystemKind | null,
): Promise<ServedStorage> {
  const portals = freePortals();
  const sizeBytes = Math.max(SIZE_BYTES, 2 * (fileSystem?.bytesMin ?? 0));
  story.command(`umpath ${ServedStorage.words(portals, sizeBytes).join(" ")}`);
  const storage = await ServedStorage.start(stage, { program, portals, sizeBytes });
  story.event(`${servedWords(sizeBytes, storage.pid)}, behind ${portals.map(portalWords).join(" and ")}`);
  return storage;
}

/** What is not true is a fault of ours; what cannot be done has its own code. */
function forPeople(error: unknown): Error {
  if (error instanceof Interrupted || error instanceof StoryUnread || error instanceof UmpathError) return error;
  if (!(error instanceof Untrue)) return error instanceof Error ? error : new Error(String(error));
  return new UmpathError("bug", `The demo's claim does not hold: ${midSentence(error.message)}`, { cause: error });
}

function onSignals(handler: (signal: Deno.Signal) => void): () => void {
  const listeners = SIGNALS.map((signal) => [signal, () => handler(signal)] as const);
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  return () => {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  };
}
