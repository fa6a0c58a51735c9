import type { PathSpec } from "./host_api.ts";

/** The shortest words for a path: `127.0.0.1:4420`, `[::1]:4420`, or the URL form if the host's side is given. */
export function pathWords(path: Omit<PathSpec, "transport">): string {
  const host = path.traddr.includes(":") ? `[${path.traddr}]` : path.traddr;
  const query = [
    ...(path.hostTraddr === null ? [] : [`host-traddr=${path.hostTraddr}`]),
    ...(path.hostIface === null ? [] : [`host-iface=${path.hostIface}`]),
  ];
  const portal = `${host}:${path.trsvcid}`;
  return query.length === 0 ? portal : `tcp://${portal}?${query.join("&")}`;
}

/** True if two specifications are of the same path. */
export function isSamePath(a: PathSpec, b: PathSpec): boolean {
  return a.transport === b.transport && a.traddr === b.traddr && a.trsvcid === b.trsvcid &&
    a.hostTraddr === b.hostTraddr && a.hostIface === b.hostIface;
}
