/** What a demo has found, as `--json` prints it: every figure was measured in that run. */
import type { DeviceDriver } from "../rpc/host_api.ts";
import type { LoadCounts } from "../block/load_control.ts";
import type { ToldStep } from "./story.ts";

/** Why a kind of device was not used. */
export interface DriverLacking {
  driver: DeviceDriver;
  reason: string;
}

/** Of a path, from attach to detach. */
export interface PathFigures {
  traddr: string;
  trsvcid: number;
  reads: number;
  writes: number;
  readBytes: number;
  writeBytes: number;
  failovers: number;
  reconnects: number;
}

/** How a path went and came back. */
export interface LossFigures {
  /** Its index in `paths`. */
  path: number;
  /** Why it was lost, as umpath has it. */
  reason: string;
  /** From the loss of the portal until umpath had noticed and given everything in flight to the other path. */
  noticedMs: number;
  /** From the loss of the portal until its return. */
  awayMs: number;
  /** From the return of the portal until the path was live. */
  backMs: number;
  /** Requests in flight on the path when it went. */
  moved: number;
  /** Of these the writes that were held for a while. */
  held: number;
}

export interface DemoReport {
  seconds: number;
  /** Claims that were made, all of them true. */
  claimsChecked: number;
  driver: DeviceDriver;
  lacking: DriverLacking[];
  device: string | null;
  sizeBytes: number;
  blockSize: number;
  /** "ext4", "xfs", or null: then the load worked on the device itself, and `noFileSystem` says why. */
  fileSystem: string | null;
  noFileSystem: string | null;
  /** True if a read-only check of the unmounted file system found nothing; null if there was none to check. */
  fileSystemClean: boolean | null;
  files: { count: number; bytesEach: number } | null;
  steps: readonly ToldStep[];
  paths: PathFigures[];
  loss: LossFigures;
  /** The load, with both paths, with one, and with both again. */
  load: { depth: number; requestBytes: number; before: LoadCounts; during: LoadCounts; after: LoadCounts };
  /** Bytes that were read at the end and found to be what was written there last. */
  verifiedBytes: number;
}
