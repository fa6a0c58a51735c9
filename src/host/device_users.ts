/** A process that has a device open. */
export interface DeviceUser {
  pid: number;
  /** Its name, as the kernel has it. */
  name: string;
}

/** The processes that have `device` or a partition of it open, other than this one, as far as /proc shows them to us. */
export function deviceUsers(device: string): DeviceUser[] {
  const users: DeviceUser[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid || !hasOpen(pid, device)) continue;
    users.push({ pid, name: nameOf(pid) });
  }
  return users;
}

/** Processes come and go while /proc is read: one that is gone has nothing open. */
function hasOpen(pid: number, device: string): boolean {
  try {
    for (const fd of Deno.readDirSync(`/proc/${pid}/fd`)) {
      if (isOf(device, linkOf(`/proc/${pid}/fd/${fd.name}`))) return true;
    }
    return false;
  } catch {
    return false;
  }
}

/** A name that ends in a digit has its partitions behind a "p". */
function isOf(device: string, path: string): boolean {
  return path.startsWith(device) && /^(p\d+)?$/.test(path.slice(device.length));
}

function linkOf(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return "";
  }
}

function nameOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
  } catch {
    return "unknown";
  }
}
