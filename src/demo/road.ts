/**
 * The demo from end to end: a volume over two paths, an application on it, the loss and return of a path, and the way
 * back. Every line that it tells was checked or measured in this run.
 */
import { UmpathError } from "../base/errors.ts";
import { count, listWords } from "../base/text.ts";
import type { DeviceChoice, PathInfo, VolumeInfo } from "../rpc/host_api.ts";
import type { RunDir } from "../rpc/run_dir.ts";
import type { Claims } from "./claims.ts";
import { FileLoad } from "./file_load.ts";
import { FileSystem, type FileSystemKind } from "./file_system.ts";
import { changedFiles, type KnownFile, writeFiles } from "./files.ts";
import { isKnownToKernel } from "./kernel_device.ts";
import { type Load, LOAD_DEPTH, LOAD_UNIT_BYTES } from "./load.ts";
import { heldWords, loadTable, losePath, LossWindow } from "./loss.ts";
import type { DemoReport, DriverLacking, LossFigures } from "./report.ts";
import type { Stage } from "./stage.ts";
import { portalWords, type Storage } from "./storage.ts";
import { duration, mebibytes, type Story } from "./story.ts";
import { attachWords, DaemonVolume, type DemoVolume, LocalVolume, reasonWords } from "./volume.ts";

const LIVE_MS_MAX = 60_000;
const FILES = 8;
const FILE_BYTES = 2 << 20;

/** What the road is taken with. */
export interface RoadOptions {
  stage: Stage;
  story: Story;
  claims: Claims;
  storage: Storage;
  /** A private folder; the file system is mounted in it. */
  folder: string;
  runDir: RunDir;
  /** The words that start umpath. */
  program: readonly string[];
  device: DeviceChoice;
  /** The kind of file system to make; null if this host can make none. */
  fileSystem: FileSystemKind | null;
  /** Bytes of the load's file, or of its share of the device. */
  loadBytes: number;
  /** A volume as `umpath show` tells it. */
  describe(volume: VolumeInfo): string;
}

export class Road {
  /** Once it is attached. */
  volume: DemoVolume | null = null;
  readonly #options: RoadOptions;
  readonly #lacking: DriverLacking[] = [];
  #fileSystem: FileSystem | null = null;
  #noFileSystem: string | null = null;
  #isClean: boolean | null = null;
  #files: KnownFile[] = [];
  #fileLoad: FileLoad | null = null;
  #endLoad: () => Promise<void> = () => Promise.resolve();

  constructor(options: RoadOptions) {
    this.#options = options;
  }

  /** From attach to detach. The storage system stays. */
  async take(): Promise<Omit<DemoReport, "seconds" | "claimsChecked">> {
    const { story } = this.#options;
    const volume = await this.#attach();
    const found = await this.#tellAttached(volume);
    story.pause();
    const load = await this.#prepare(volume);
    await this.#tellTransfer(volume, load);
    story.pause();
    const loss = await this.#losePath(volume, load);
    story.pause();
    const verifiedBytes = await this.#verify(volume, load);
    story.pause();
    const { paths } = await volume.info();
    await this.#detach(volume);
    return this.#report({ volume, found, loss, load, paths, verifiedBytes });
  }

  get #loadBytes(): number {
    return this.#options.loadBytes;
  }

  get #loadUnits(): number {
    return this.#options.loadBytes / LOAD_UNIT_BYTES;
  }

  #demand(claim: boolean, otherwise: string): void {
    this.#options.claims.demand(claim, otherwise);
  }

  // ── attach: steps 400 to 406 ──────────────────────────────────────────────────────────────────────────────────────

  /** With a kernel device if there can be one, else in this process. */
  async #attach(): Promise<DemoVolume> {
    const { device } = this.#options;
    this.volume = device === "none" ? await this.#attachHere() : await this.#attachDevice(device);
    this.volume ??= await this.#attachHere();
    return this.volume;
  }

  /** Null if this host can make no kernel device, and none was insisted on. */
  async #attachDevice(choice: DeviceChoice): Promise<DaemonVolume | null> {
    const { stage, story, storage } = this.#options;
    story.command(`umpath ${attachWords(storage, choice).join(" ")}`);
    try {
      const volume = await DaemonVolume.attach(this.#options, choice);
      if (volume.warnings !== "") story.detail(volume.warnings);
      if (choice === "auto" && volume.driver === "loop") {
        this.#lacking.push({ driver: "ublk", reason: volume.warnings });
      }
      story.event(volume.device.path);
      return volume;
    } catch (error) {
      if (choice !== "auto" || !(error instanceof UmpathError) || error.code !== "host-lacks") throw error;
      stage.signal.throwIfAborted();
      for (const driver of ["ublk", "loop"] as const) this.#lacking.push({ driver, reason: error.message });
      story.event(`Not on this host: ${reasonWords(error)}`);
      return null;
    }
  }

  async #attachHere(): Promise<LocalVolume> {
    const { story, storage } = this.#options;
    const why = this.#lacking.length > 0 ? "no kernel device can be had, so " : "";
    const paths = listWords(storage.portals.map(portalWords));
    story.event(`No kernel device: ${why}this process attaches ${paths} itself, and reads and writes in user space`);
    return await LocalVolume.attach(this.#options);
  }

  async #tellAttached(volume: DemoVolume): Promise<VolumeInfo> {
    const { stage, story, storage } = this.#options;
    const found = await stage.eventually("all paths are live", async () => {
      const now = await volume.info();
      return now.paths.every(({ state }) => state === "live") ? now : null;
    }, LIVE_MS_MAX);

    const { paths } = found;
    this.#demand(paths.length === storage.portals.length, `the volume has ${paths.length} paths`);
    this.#demand(new Set(paths.map(({ cntlid }) => cntlid)).size === paths.length, "two paths have one controller");
    const controllers = paths.map((path) => `${path.traddr} (controller ${path.cntlid})`);
    story.step(400, "connect", `connected to ${listWords(controllers)}, ${queueWords(paths)}`);

    const isUuidRight = storage.uuid === null ? found.uuid !== "" : found.uuid === storage.uuid;
    this.#demand(isUuidRight, `the volume has UUID "${found.uuid}", and ${storage.uuid ?? "one"} was expected`);
    this.#demand(found.sizeBytes === storage.sizeBytes, `the volume has ${found.sizeBytes} bytes`);
    const uuid = `UUID ${found.uuid.slice(0, 8)}…`;
    story.step(402, "user-space device", `both lead to namespace ${found.nsid}, ${uuid}: volume ${found.name}`);
    await this.#tellIdentity(volume);
    this.#tellDevice(volume, found);
    return found;
  }

  async #tellIdentity(volume: DemoVolume): Promise<void> {
    const { story, storage } = this.#options;
    const again = await volume.attachAgain();
    const first = volume.device?.path ?? volume.name;
    this.#demand(again === first, `attached again, it is ${again} and not ${first}`);
    const { paths } = await volume.info();
    this.#demand(paths.length === storage.portals.length, `attached again, it has ${paths.length} paths`);
    this.#demand(!isKnownToKernel(storage.nqn), "the kernel's own initiator has connected the same subsystem");
    const kernel = "and the kernel's own initiator does not have it";
    story.step(404, "identify", `one volume: attached a second time it is still ${first}, ${kernel}`);
  }

  #tellDevice({ device, driver }: DemoVolume, found: VolumeInfo): void {
    const { story } = this.#options;
    if (device === null) {
      story.step(406, "kernel device", "none: what follows drives the volume in user space");
      return;
    }
    this.#demand(device.isBlockDevice, `${device.path} is no block device`);
    this.#demand(device.sizeBytes === found.sizeBytes, `${device.path} has ${device.sizeBytes} bytes`);
    this.#demand(device.blockSize === found.blockSize, `${device.path} has blocks of ${device.blockSize} bytes`);
    const size = `${mebibytes(device.sizeBytes)} in blocks of ${device.blockSize} bytes`;
    story.step(406, "kernel device", `${device.path} (${driver}), ${size}`);
  }

  // ── what the application works on ─────────────────────────────────────────────────────────────────────────────────

  async #prepare(volume: DemoVolume): Promise<Load> {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    if (volume instanceof LocalVolume) {
      this.#noFileSystem = "there is no kernel device";
      const load = volume.load({ units: this.#loadUnits, seed });
      this.#endLoad = this.#options.stage.owe("the load", () => load.quiesce(LIVE_MS_MAX));
      await this.#fill(load, "the volume");
      return load;
    }
    await this.#makeFileSystem(volume);
    const fileLoad = await this.#startFileLoad(seed);
    if (this.#fileSystem === null) fileLoad.open(volume.device!.path, { make: false });
    else fileLoad.open(this.#loadPath, { make: true });
    await this.#fill(fileLoad.load, this.#fileSystem === null ? volume.device!.path : "a file there");
    return fileLoad.load;
  }

  get #loadPath(): string {
    return `${this.#fileSystem!.folder}/load`;
  }

  async #makeFileSystem({ device }: DemoVolume): Promise<void> {
    const { stage, story, fileSystem: kind, folder } = this.#options;
    if (kind === null) return this.#goWithoutFileSystem("this host has neither mkfs.ext4 nor mkfs.xfs");
    const mountFolder = `${folder}/mnt`;
    Deno.mkdirSync(mountFolder);
    const fileSystem = new FileSystem(stage, { kind, device: device!.path, folder: mountFolder });
    story.command(fileSystem.makeCommand.join(" "));
    await fileSystem.make();
    story.command(fileSystem.mountCommand.join(" "));
    const refusal = await fileSystem.mount();
    if (refusal !== null) return this.#goWithoutFileSystem(refusal);
    this.#fileSystem = fileSystem;
    this.#files = await writeFiles(mountFolder, FILES, FILE_BYTES);
    story.event(`${FILES} files of ${mebibytes(FILE_BYTES)} written and synced; their sha256 noted`);
  }

  #goWithoutFileSystem(reason: string): void {
    this.#noFileSystem = reason;
    this.#options.story.event(`No file system: ${reason}. What follows reads and writes the device itself`);
  }

  async #startFileLoad(seed: number): Promise<FileLoad> {
    const fileLoad = await FileLoad.start({ units: this.#loadUnits, seed });
    this.#fileLoad = fileLoad;
    this.#endLoad = this.#options.stage.owe("the load", async () => {
      if (fileLoad.isOpen) await fileLoad.load.quiesce(LIVE_MS_MAX);
      fileLoad.close();
      fileLoad.end();
    });
    return fileLoad;
  }

  async #fill(load: Load, where: string): Promise<void> {
    await load.fill(this.#options.stage);
    this.#options.story.event(`${mebibytes(this.#loadBytes)} of known blocks written to ${where}, past the page cache`);
  }

  // ── from the kernel to the paths: steps 408 to 412 ────────────────────────────────────────────────────────────────

  /** Reads are compared: nobody else reads, while a file system writes when it likes. */
  async #tellTransfer(volume: DemoVolume, load: Load): Promise<void> {
    const { stage, story } = this.#options;
    const before = { kernel: volume.device?.counts, paths: (await volume.info()).paths };
    await load.verify(stage);
    const { paths, policy } = await volume.info();
    const kernel = volume.device?.counts;
    const increase = (of: (path: PathInfo) => number) => sum(paths, of) - sum(before.paths, of);
    const reads = increase((path) => path.reads);
    const bytes = increase((path) => path.readBytes);

    let asked = this.#loadBytes;
    if (kernel !== undefined) {
      asked = kernel.readBytes - before.kernel!.readBytes;
      this.#demand(
        asked >= this.#loadBytes,
        `the kernel had reads of ${asked} bytes, and ${this.#loadBytes} were read`,
      );
      const requests = `${kernel.reads - before.kernel!.reads} reads, ${mebibytes(asked)}`;
      story.step(408, "receive", `all of it is read back: ${volume.device!.path} has had ${requests}`);
    } else {
      story.step(408, "receive", `all of it is read back: ${this.#loadUnits} reads, ${mebibytes(asked)}`);
    }
    this.#demand(bytes === asked, `${asked} bytes were asked for, and the paths read ${bytes}`);
    story.step(410, "transfer", `they came to the volume: ${mebibytes(bytes)}, to the byte`);
    const shares = paths.map((path, i) => ({ ...path, reads: path.reads - before.paths[i]!.reads }));
    for (const { id, reads } of shares) this.#demand(reads > 0, `path ${id} had no reads`);
    const words = listWords(shares.map(({ reads, traddr }) => `${reads} to ${traddr}`));
    const by = paths.length === 1 ? "" : `by policy ${policy}: `;
    story.step(412, "submit", `as ${reads} commands, ${by}${words}`);
  }

  // ── a path goes ───────────────────────────────────────────────────────────────────────────────────────────────────

  async #losePath(volume: DemoVolume, load: Load): Promise<LossFigures> {
    const { stage, story, claims, storage, describe } = this.#options;
    const loss = await losePath({ stage, story, claims, storage, volume, load, describe });
    story.detail(loadTable(load).join("\n"));
    const { timeouts } = await volume.info();
    const held = heldWords(loss, timeouts.writeHoldMs);
    if (held !== null) story.detail(held);
    return loss;
  }

  // ── nothing was lost ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes that were found to be right. */
  async #verify(volume: DemoVolume, load: Load): Promise<number> {
    const { stage, story } = this.#options;
    await load.verify(stage);
    story.event(`Read back: all ${mebibytes(this.#loadBytes)} of the load are what was written there last`);
    if (this.#fileSystem === null) return this.#loadBytes;
    await this.#verifyFileSystem(volume, this.#fileSystem, load);
    return 2 * this.#loadBytes + FILES * FILE_BYTES;
  }

  async #verifyFileSystem(volume: DemoVolume, fileSystem: FileSystem, load: Load): Promise<void> {
    const { stage, story } = this.#options;
    this.#fileLoad!.close();
    story.command(`umount ${fileSystem.folder}`);
    await fileSystem.unmount();
    await this.#checkFileSystem(fileSystem);
    story.command(fileSystem.mountCommand.join(" "));
    const refusal = await fileSystem.mount();
    this.#demand(refusal === null, `it cannot be mounted again: ${refusal}`);
    const before = volume.device!.counts.readBytes;
    const changed = await changedFiles(this.#files);
    this.#demand(changed.length === 0, `files have changed: ${changed.join("; ")}`);
    const read = volume.device!.counts.readBytes - before;
    this.#demand(read >= FILES * FILE_BYTES, `only ${read} bytes of the files came from the device`);
    this.#fileLoad!.open(this.#loadPath, { make: false });
    await load.verify(stage);
    story.event(`The sha256 of all ${FILES} files are what they were, and so is every block of the load's file`);
    this.#fileLoad!.close();
    story.command(`umount ${fileSystem.folder}`);
    await fileSystem.unmount();
  }

  async #checkFileSystem(fileSystem: FileSystem): Promise<void> {
    const { story } = this.#options;
    if (!fileSystem.canCheck) {
      story.event(`Not checked: this host has no ${fileSystem.kind.check[0]}`);
      return;
    }
    story.command(fileSystem.checkCommand.join(" "));
    const { code, words } = await fileSystem.check();
    this.#demand(code === 0, `${fileSystem.kind.check[0]} ended with exit code ${code}:\n${words}`);
    this.#isClean = true;
    story.event(`The file system is clean`);
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #detach(volume: DemoVolume): Promise<void> {
    const { story } = this.#options;
    await this.#endLoad();
    if (volume.device !== null) story.command(`umpath detach ${volume.name}`);
    const startMs = performance.now();
    await volume.detach();
    const what = volume.device === null ? "The volume is detached" : `${volume.device.path} is gone, and the daemon`;
    this.#demand(volume.device?.isGone ?? true, `${volume.device?.path} is still there`);
    story.event(`${what}, after ${duration(performance.now() - startMs)}`);
  }

  #report(
    found: {
      volume: DemoVolume;
      found: VolumeInfo;
      loss: LossFigures;
      load: Load;
      paths: PathInfo[];
      verifiedBytes: number;
    },
  ): Omit<DemoReport, "seconds" | "claimsChecked"> {
    const { volume, loss, load, verifiedBytes } = found;
    return {
      driver: volume.driver,
      lacking: this.#lacking,
      device: volume.device?.path ?? null,
      sizeBytes: found.found.sizeBytes,
      blockSize: found.found.blockSize,
      fileSystem: this.#fileSystem?.kind.name ?? null,
      noFileSystem: this.#noFileSystem,
      fileSystemClean: this.#isClean,
      files: this.#fileSystem === null ? null : { count: FILES, bytesEach: FILE_BYTES },
      steps: this.#options.story.steps,
      paths: found.paths.map((
        { traddr, trsvcid, reads, writes, readBytes, writeBytes, failovers, reconnects },
      ) => ({ traddr, trsvcid, reads, writes, readBytes, writeBytes, failovers, reconnects })),
      loss,
      load: {
        depth: LOAD_DEPTH,
        requestBytes: LOAD_UNIT_BYTES,
        before: load.counts(LossWindow.BEFORE),
        during: load.counts(LossWindow.DURING),
        after: load.counts(LossWindow.AFTER),
      },
      verifiedBytes,
    };
  }
}

function queueWords(paths: readonly PathInfo[]): string {
  return `${count(sum(paths, ({ queues }) => queues), "I/O queue")} in all`;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
