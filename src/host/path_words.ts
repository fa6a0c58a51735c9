import type { PathSpec } from "./api.ts";

/** A path as people write it: `10.0.0.2:4420`, `[fd00::2]:4420`, with the host's end where it was given. */
export function pathWords(spec: PathSpec): string {
  const portal = spec.traddr.includes(":") ? `[${spec.traddr}]:${spec.trsvcid}` : `${spec.traddr}:${spec.trsvcid}`;
  const from = spec.hostTraddr === null ? "" : ` from ${spec.hostTraddr}`;
  const through = spec.hostIface === null ? "" : ` through ${spec.hostIface}`;
  return portal + from + through;
}

/** True if two specifications are of the same path. */
export function isSamePath(a: PathSpec, b: PathSpec): boolean {
  return a.transport === b.transport && a.traddr === b.traddr && a.trsvcid === b.trsvcid &&
    a.hostTraddr === b.hostTraddr && a.hostIface === b.hostIface;
}
