/**
 * What the daemon is asked over its control socket, and what it answers. One JSON object a line:
 * `{"id":1,"version":"0.1.0","method":"list","params":{}}` is answered by any number of `{"id":1,"warning":"…"}` lines and then one
 * `{"id":1,"result":…}` or `{"id":1,"error":{"code","message","hint"}}`. The version is that of the client, and may be left
 * out. A client that shuts its end for writing, or is gone, takes back what it has asked for and has no answer to yet.
 */
import type { NamedTimeouts, Timeouts } from "../settings/timeouts.ts";

export type DeviceDriver = "ublk" | "loop" | "none";
/** What a kernel device is made with; "auto": what this host has, ublk before loop. */
export const DEVICE_CHOICES = Object.freeze(["auto", "ublk", "loop", "none"] as const);
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];
export type PathState = "connecting" | "live" | "reconnecting" | "disabled";
export type AnaStateName = "optimized" | "non-optimized" | "inaccessible" | "persistent-loss" | "change";
/** A volume is "dead" whose device another program has taken away: `deviceReason` says how. */
export type VolumeState = "live" | "degraded" | "no-path" | "recovering" | "detaching" | "dead";

/** One end-to-end way to a controller, as the command line names it. */
export interface PathSpec {
  transport: "tcp";
  /** Address of the portal: IPv4 or IPv6, without brackets. */
  traddr: string;
  /** TCP port, 4420 unless told. */
  trsvcid: number;
  /** Source address, or null for what the kernel picks. */
  hostTraddr: string | null;
  /** Source interface, or null. */
  hostIface: string | null;
}

/** What is wanted of a volume. What is null or not there was not named: it has its default, or stays as it is. */
export interface AttachParams {
  nqn: string;
  nsid: number;
  /** Null: made from the NQN. */
  name: string | null;
  paths: PathSpec[];
  /** Keep a path that cannot be reached when it is added to a volume that is attached. */
  force?: boolean;
  device: DeviceChoice;
  policy?: string | null;
  /** When I/O returns to a path that was lost: "auto", unless told, or "manual". */
  failback?: string | null;
  /** Null: as many as the daemon has workers. */
  queues: number | null;
  depth: number | null;
  readOnly: boolean;
  /** CRC32C over the headers, and over the data, of all PDUs; off unless told. */
  headerDigest?: boolean;
  dataDigest?: boolean;
  /** What is done about a path that is much slower than its peers: "off" unless told, or "demote". */
  slowPath?: string | null;
  /** When a read is sent again over another path: "off" unless told, a percentile ("p99") or a time ("20ms"). */
  hedgeReads?: string | null;
  /** Only what the user named; the daemon fills in the rest. */
  timeouts: NamedTimeouts;
  hostNqn: string;
  hostId: string;
}

export interface AttachResult {
  volume: VolumeInfo;
  /** What `attach` prints: the kernel device, or the volume's name if it has none. */
  device: string;
  /** False if the volume had been attached before. */
  created: boolean;
}

export interface DetachParams {
  /** Names, devices or UUIDs; empty with `all`. */
  volumes: string[];
  all: boolean;
  /** Detach although the device is in use. */
  force: boolean;
}

export interface DetachResult {
  /** Names of the volumes that are gone. */
  detached: string[];
  /** Those of them that were not attached yet: the attach was called off. */
  calledOff?: string[];
  /** The daemon leaves now, for nothing is attached any more. */
  leaving?: boolean;
}

/** A path of a volume: by its number, or by its specification. */
export type PathName = { id: number } | PathSpec;

/** What is changed of a volume that runs; what is null or not there stays as it is. */
export interface VolumeChanges {
  policy: string | null;
  /** "auto", "manual", or "now": I/O goes to the best paths at once, and all else stays as it is. */
  failback?: string | null;
  /** "none": no path is preferred any more. */
  preferredPath: PathName | "none" | null;
  weights: { path: PathName; weight: number }[];
  slowPath?: string | null;
  hedgeReads?: string | null;
  timeouts: NamedTimeouts;
}

export interface SetParams extends VolumeChanges {
  /** Name, device or UUID. */
  volume: string;
}

export interface PathAddParams {
  volume: string;
  path: PathSpec;
  /** Keep the path although it cannot be reached. */
  force?: boolean;
}

export interface PathParams {
  volume: string;
  path: PathName;
}

export interface PathAwayParams extends PathParams {
  /** Even if no other path serves the volume. */
  force: boolean;
}

/** One setting that is another one now, in the words of the command line. */
export interface SettingChange {
  key: string;
  from: string;
  to: string;
}

/** The volume as it is afterwards, and what has changed. */
export interface SetResult {
  volume: VolumeInfo;
  changes: SettingChange[];
}

/** The volume as it is afterwards. */
export interface PathResult {
  volume: VolumeInfo;
  /** The path that was meant, which may be gone. */
  path: { id: number } & PathSpec;
  /** False if it was so before. */
  changed: boolean;
}

export interface PathInfo {
  id: number;
  transport: "tcp";
  traddr: string;
  trsvcid: number;
  hostTraddr: string | null;
  hostIface: string | null;
  state: PathState;
  ana: AnaStateName;
  inflight: number;
  inflightBytes: number;
  reads: number;
  writes: number;
  readBytes: number;
  writeBytes: number;
  errors: number;
  failovers: number;
  /** Digests of the target that were wrong; 0 without digests. */
  digestErrors: number;
  /** Why the path is not live, in words; null while it is. */
  reason: string | null;
  /** Controller ID while connected. */
  cntlid: number | null;
  /** I/O queue pairs that are open. */
  queues: number;
  /** Reconnects since attach. */
  reconnects: number;
  /** It has not been live yet: it does not make the volume degraded. */
  neverLive: boolean;
  /** How much policies with weights use it beside others. */
  weight: number;
  /** Since when it is slow, and only probed (ISO 8601); null while it is not. */
  slowSince: string | null;
  /** It could be used, but only failback=now, or the loss of those that took over, returns I/O to it. */
  standby: boolean;
  /** What a read and a write take, of late in the mean and at most since it was connected; null if there was none. */
  readMs: number | null;
  readMsMax: number | null;
  writeMs: number | null;
  writeMsMax: number | null;
}

export interface VolumeInfo {
  name: string;
  nqn: string;
  nsid: number;
  /** UUID, or NGUID or EUI-64 in hexadecimal where the namespace has no UUID. */
  uuid: string;
  /** Its NGUID and EUI-64 beside that, as far as it has them. */
  identifiers?: string[];
  /** Null if there is none, or none any more. */
  device: string | null;
  driver: DeviceDriver;
  /** Why the device is lost, in words; null while it is not. */
  deviceReason: string | null;
  sizeBytes: number;
  blockSize: number;
  /** Why the kernel device has another size, in words; null if it has not. */
  sizeWarning: string | null;
  readOnly: boolean;
  /** Why it takes no writes, in words; null if it does. */
  readOnlyReason: string | null;
  state: VolumeState;
  policy: string;
  failback: "auto" | "manual";
  /** The number of the path that a policy with a preferred one prefers; null: none. */
  preferredPath: number | null;
  /** "off" or "demote". */
  slowPath: string;
  /** "off", a percentile or a time. */
  hedgeReads: string;
  queues: number;
  depth: number;
  /** True if PDUs have digests of their headers, of their data. */
  headerDigest: boolean;
  dataDigest: boolean;
  /** Requests that wait because no path is live. */
  waiting: number;
  /** Writes held after the loss of a path. */
  held: number;
  /** Requests that another queue has served, for theirs had no link of a usable path. */
  handedOver: number;
  /** Requests that ended with an error towards the application, since attach; write zeroes count as discards. */
  failedReads: number;
  failedWrites: number;
  failedFlushes: number;
  failedDiscards: number;
  /** Reads that were sent twice, those whose second copy was answered first, and those that were late and not sent twice. */
  hedges: number;
  hedgesWon: number;
  hedgesSuppressed: number;
  /** After how long a read is late at present; null if that is off or not known. */
  hedgeMs: number | null;
  timeouts: Timeouts;
  /** The write hold among them follows from what the controllers go by; otherwise somebody has named it. */
  writeHoldAuto: boolean;
  /** Model and serial number of the controller. */
  model: string;
  serial: string;
  paths: PathInfo[];
}

/** A volume on its way: nothing more is known of it. */
export interface AttachingInfo {
  /** The name that it is to have. */
  name: string;
  nqn: string;
  nsid: number;
  state: "attaching";
  /** Since when (ISO 8601). */
  since: string;
}

export interface ListResult {
  volumes: VolumeInfo[];
  /** Volumes that are being attached; missing: none. */
  attaching?: AttachingInfo[];
  /** Devices that earlier daemons have left, or this one has taken away while they were in use. */
  left?: LeftInfo[];
}

/** A device that is left, as people and scripts are told of it. */
export interface LeftInfo {
  /** Of the volume; empty if nobody knows it any more. */
  name: string;
  device: string;
  driver: DeviceDriver;
  /** Why it is left, in words. */
  why: string;
  /** Who uses it, as in "is mounted on "/mnt""; null if nobody is seen to. */
  use: string | null;
  /** All of it in a sentence. */
  words: string;
  /** What makes it go, as the end of a sentence. */
  remedy: string;
}

export interface DaemonInfo {
  pid: number;
  version: string;
  workers: number;
  /** True if the daemon leaves when its last volume does. */
  transient: boolean;
  /** When it started (ISO 8601). */
  startedAt: string;
  /** The file that it logs to; null: its standard error. */
  logFile: string | null;
  /** Nothing is attached or on its way, so that the daemon leaves. */
  leaving?: boolean;
}

/** Which volumes are looked at anew. */
export interface RescanParams {
  volumes: string[];
  all: boolean;
}

export interface RescanResult {
  volumes: RescannedVolume[];
}

/** A volume after its namespace was looked at anew over all live paths. */
export interface RescannedVolume {
  volume: VolumeInfo;
  /** What has changed, in words: "size 1 GiB → 2 GiB". */
  changes: string[];
}

/** Every method of the control socket with its parameters and result. */
export interface Api {
  attach: { params: AttachParams; result: AttachResult };
  detach: { params: DetachParams; result: DetachResult };
  set: { params: SetParams; result: SetResult };
  "path-add": { params: PathAddParams; result: PathResult };
  "path-remove": { params: PathAwayParams; result: PathResult };
  "path-disable": { params: PathAwayParams; result: PathResult };
  "path-enable": { params: PathParams; result: PathResult };
  rescan: { params: RescanParams; result: RescanResult };
  list: { params: Record<string, never>; result: ListResult };
  info: { params: Record<string, never>; result: DaemonInfo };
}

export type Method = keyof Api;
