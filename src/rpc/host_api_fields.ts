/** What each method of the control socket takes: every field with its type and range, checked before anything is done. */
import { DURATION_MS_MAX } from "../base/units.ts";
import { PATHS_MAX } from "../base/limits.ts";
import { hostAddressFault, interfaceNameFault, isLinkLocal, isV6 } from "../settings/addresses.ts";
import {
  type Api,
  type AttachParams,
  DEVICE_CHOICES,
  type PathName,
  type PathSpec,
  type VolumeChanges,
} from "./host_api.ts";
import {
  FAILBACK_NAMES,
  FAILBACK_VALUES,
  type NamedTimeouts,
  POLICY_NAMES,
  TIME_LIMITS,
} from "../settings/timeouts.ts";
import {
  type Check,
  choice,
  either,
  type Fields,
  flag,
  list,
  nullable,
  optional,
  parsedBy,
  record,
  text,
  textThat,
  whole,
} from "./fields.ts";
import { parseHedge, SLOW_PATH_MODES } from "../settings/latency_settings.ts";
import { DISCOVERY_NQN, isUuid, nqnFault } from "../settings/nqn.ts";
import { DEPTH_RANGE, NSID_RANGE, PORT_RANGE, QUEUES_RANGE, WEIGHT_RANGE } from "./ranges.ts";
import { volumeNameFault } from "../settings/volume_name.ts";

/** Words that name volumes in one request: more than there can be volumes. */
const WORDS_MAX = 1024;
/** PATH_MAX: a volume may be named by a link to its device. */
const WORD_LENGTH_MAX = 4096;
/** No number of a path is larger. */
const PATH_ID_RANGE = Object.freeze({ min: 0, max: PATHS_MAX - 1 });

const volumeWord = text({ min: 1, max: WORD_LENGTH_MAX });
const hedgeBudget = parsedBy((word) => parseHedge(word));

const pathFields = record<PathSpec>({
  transport: choice(["tcp"]),
  traddr: textThat(hostAddressFault),
  trsvcid: whole(PORT_RANGE),
  hostTraddr: nullable(textThat(hostAddressFault)),
  hostIface: nullable(textThat(interfaceNameFault)),
});

/** A way from one address to another. */
const path: Check = (value) => {
  const fault = pathFields(value);
  if (fault !== null) return fault;
  const { traddr, hostTraddr, hostIface } = value as PathSpec;
  if (hostTraddr !== null && isV6(hostTraddr) !== isV6(traddr)) {
    return { at: "hostTraddr", why: "is not of the address family of traddr" };
  }
  if (isLinkLocal(traddr) && hostIface === null) return { at: "hostIface", why: "is missing: traddr is link-local" };
  return null;
};

const pathName: Check = (value) => {
  const isNumbered = typeof value === "object" && value !== null && "id" in value;
  return isNumbered ? record<PathName & { id: number }>({ id: whole(PATH_ID_RANGE) } as never)(value) : path(value);
};

function time(key: keyof typeof TIME_LIMITS): Check {
  const { msMin, off = false, auto = false } = TIME_LIMITS[key];
  const ms = whole({ min: msMin, max: DURATION_MS_MAX });
  const orOff = off ? nullable(ms) : ms;
  return optional(auto ? either(choice(["auto"]), orOff) : orOff);
}

const timeouts = record<NamedTimeouts>({
  connectTimeoutMs: time("connectTimeoutMs"),
  keepAliveMs: time("keepAliveMs"),
  ioTimeoutMs: time("ioTimeoutMs"),
  noPathTimeoutMs: time("noPathTimeoutMs"),
  fastIoFailTimeoutMs: time("fastIoFailTimeoutMs"),
  ctrlLossTimeoutMs: time("ctrlLossTimeoutMs"),
  reconnectDelayMs: time("reconnectDelayMs"),
  reconnectDelayMaxMs: time("reconnectDelayMaxMs"),
  writeHoldMs: time("writeHoldMs"),
});

const attach = record<AttachParams>({
  nqn: textThat((nqn) => {
    const fault = nqnFault(nqn);
    return fault ?? (nqn === DISCOVERY_NQN ? "names a discovery subsystem, which has no volumes" : null);
  }),
  nsid: whole(NSID_RANGE),
  name: nullable(textThat(volumeNameFault)),
  paths: list(path, { min: 1, max: PATHS_MAX }),
  force: optional(flag),
  device: choice(DEVICE_CHOICES),
  policy: optional(nullable(choice(POLICY_NAMES))),
  failback: optional(nullable(choice(FAILBACK_NAMES))),
  queues: nullable(whole(QUEUES_RANGE)),
  depth: nullable(whole(DEPTH_RANGE)),
  readOnly: flag,
  headerDigest: optional(flag),
  dataDigest: optional(flag),
  slowPath: optional(nullable(choice(SLOW_PATH_MODES))),
  hedgeReads: optional(nullable(hedgeBudget)),
  timeouts,
  hostNqn: textThat(nqnFault),
  hostId: textThat((id) => isUuid(id) ? null : "is not a UUID"),
});

const changes: Fields<VolumeChanges> = {
  policy: nullable(choice(POLICY_NAMES)),
  failback: optional(nullable(choice(FAILBACK_VALUES))),
  preferredPath: nullable((value) => value === "none" ? null : pathName(value)),
  weights: list(record<VolumeChanges["weights"][number]>({ path: pathName, weight: whole(WEIGHT_RANGE) }), {
    max: PATHS_MAX,
  }),
  slowPath: optional(nullable(choice(SLOW_PATH_MODES))),
  hedgeReads: optional(nullable(hedgeBudget)),
  timeouts,
};

const pathAway = record<Api["path-remove"]["params"]>({ volume: volumeWord, path: pathName, force: flag });

/** The parameters of each method. */
export const API_FIELDS: { readonly [M in keyof Api]: Check } = Object.freeze({
  attach,
  detach: record<Api["detach"]["params"]>({
    volumes: list(volumeWord, { max: WORDS_MAX }),
    all: flag,
    force: flag,
  }),
  set: record<Api["set"]["params"]>({ volume: volumeWord, ...changes }),
  "path-add": record<Api["path-add"]["params"]>({ volume: volumeWord, path, force: optional(flag) }),
  "path-remove": pathAway,
  "path-disable": pathAway,
  "path-enable": record<Api["path-enable"]["params"]>({ volume: volumeWord, path: pathName }),
  rescan: record<Api["rescan"]["params"]>({ volumes: list(volumeWord, { max: WORDS_MAX }), all: flag }),
  list: record<Api["list"]["params"]>({}),
  info: record<Api["info"]["params"]>({}),
});
