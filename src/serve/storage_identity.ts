/**
 * The UUID of what is behind a namespace. It is the storage's own and not that of the target's name: two targets that are
 * given one name have namespaces that no host takes for one.
 *
 * | storage              | its UUID                                                                                    |
 * |----------------------|---------------------------------------------------------------------------------------------|
 * | file                 | drawn once, kept as the attribute `user.umpath.uuid` of the file                            |
 * | … without attributes | kept in a file beside it: `disk.img.umpath`, with the inode that it is for                  |
 * | … that cannot be kept| made from the file's device and inode and from this host: it is another on another host      |
 * | loop device          | that of the file behind it                                                                  |
 * | block device         | made from the name that the device gives of itself, else from its number and this host       |
 * | memory               | drawn at each start: what was in it before is lost                                          |
 *
 * `cp` copies neither the attribute nor the file beside it, so that a copy is another storage.
 */
import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { EEXIST, ENODATA } from "../base/errno.ts";
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { isUuid } from "../settings/nqn.ts";
import { derivedUuid, newUuid, uuidBytes, uuidText } from "./identity.ts";
import { deviceNumbers, fileBehind, realPath } from "./storage_users.ts";

const ATTRIBUTE = "user.umpath.uuid";
const BESIDE_SUFFIX = ".umpath";
const TEXT_BYTES_MAX = 256;
/** What a device calls itself, in the folder of /sys that it has: worldwide names first. */
const DEVICE_NAMES = ["wwid", "device/wwid", "dm/uuid", "md/uuid", "uuid", "serial", "device/serial"] as const;

/** The attributes of files, as the kernel keeps them: 0 or more, or -errno. */
export interface Attributes {
  get(fd: number, into: Uint8Array<ArrayBuffer>): number;
  /** Makes it where there is none yet. */
  make(fd: number, value: Uint8Array<ArrayBuffer>): number;
}

const KERNEL_ATTRIBUTES: Attributes = {
  get: (fd, into) => native().um_file_get_attribute(fd, cString(ATTRIBUTE), into, into.length),
  make: (fd, value) => native().um_file_make_attribute(fd, cString(ATTRIBUTE), value, value.length),
};

/** A UUID, and what people should know of how long it holds. */
export interface StorageIdentity {
  readonly uuid: Uint8Array<ArrayBuffer>;
  /** Null where it is kept. */
  readonly warning: string | null;
}

/** A file that is open. */
interface OpenFile {
  readonly path: string;
  readonly fd: number;
}

/** A file or block device that is open. */
export interface OpenStorage extends OpenFile {
  readonly isDevice: boolean;
}

/** The identity of memory. */
export function memoryIdentity(): StorageIdentity {
  return { uuid: newUuid(), warning: null };
}

/**
 * The identity of a file or block device, which gets one if it has none.
 *
 * @throws UmpathError "host-lacks" if what is kept is none: it is never replaced, for a host may know the storage by it.
 */
export async function storageIdentity(
  storage: OpenStorage,
  { attributes = KERNEL_ATTRIBUTES, sys = "/sys" }: { attributes?: Attributes; sys?: string } = {},
): Promise<StorageIdentity> {
  return storage.isDevice
    ? await deviceIdentity(storage.path, { attributes, sys })
    : await fileIdentity(storage, attributes);
}

// ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function fileIdentity(file: OpenFile, attributes: Attributes): Promise<StorageIdentity> {
  return attributeIdentity(file, attributes) ?? besideIdentity(file.path) ?? await madeFromInode(file.path);
}

/** The UUID that the file has as its attribute, which is made if it is missing; null if that cannot be. */
function attributeIdentity(file: OpenFile, attributes: Attributes): StorageIdentity | null {
  const kept = attributeOf(file, attributes);
  if (typeof kept !== "number") return { uuid: kept, warning: null };
  if (kept !== ENODATA) return null;
  const uuid = newUuid();
  const made = attributes.make(file.fd, new TextEncoder().encode(uuidText(uuid)));
  if (made === 0) return { uuid, warning: null };
  // Another target may have made one meanwhile: both serve it read-only.
  const other = made === -EEXIST ? attributeOf(file, attributes) : EEXIST;
  return typeof other === "number" ? null : { uuid: other, warning: null };
}

/** The UUID that the file has as its attribute, or the errno that says why there is none. */
function attributeOf({ path, fd }: OpenFile, attributes: Attributes): Uint8Array<ArrayBuffer> | number {
  const bytes = new Uint8Array(TEXT_BYTES_MAX);
  const length = attributes.get(fd, bytes);
  if (length < 0) return -length;
  return checkedUuid(new TextDecoder().decode(bytes.subarray(0, length)), `${quote(path)}, attribute ${ATTRIBUTE}`);
}

/** The UUID in a file beside the one that has it, which is made if it is missing; null if that cannot be. */
function besideIdentity(path: string): StorageIdentity | null {
  const beside = realPath(path) + BESIDE_SUFFIX;
  const inode = `${Deno.statSync(path).ino}`;
  const kept = keptBeside(beside);
  if (kept !== null && kept.inode === inode) return { uuid: checkedUuid(kept.uuid, quote(beside)), warning: null };
  // One that was kept for another file, which had this name before, is not this file's.
  const uuid = newUuid();
  try {
    const draft = `${beside}.${Deno.pid}`;
    Deno.writeTextFileSync(draft, `${uuidText(uuid)} ${inode}\n`, { mode: 0o600 });
    Deno.renameSync(draft, beside);
    return { uuid, warning: null };
  } catch {
    return null;
  }
}

function keptBeside(path: string): { uuid: string; inode: string } | null {
  try {
    const [uuid = "", inode = ""] = Deno.readTextFileSync(path).trim().split(" ");
    return { uuid, inode };
  } catch {
    return null;
  }
}

async function madeFromInode(path: string): Promise<StorageIdentity> {
  const { dev, ino, birthtime } = Deno.statSync(path);
  const uuid = await derivedUuid(`file ${dev} ${ino} ${birthtime?.getTime() ?? 0} ${hostText()}`);
  const warning = `The UUID of ${quote(path)} cannot be kept with it, and is made from its place on this host: ` +
    "it becomes another if the file is moved; --uuid gives it one";
  return { uuid, warning };
}

function checkedUuid(text: string, where: string): Uint8Array<ArrayBuffer> {
  if (isUuid(text)) return uuidBytes(text);
  throw new UmpathError("host-lacks", `Cannot read the UUID that is kept in ${where}: ${quote(text)} is none`, {
    hint: "Give the namespace one with --uuid",
  });
}

// ── block devices ─────────────────────────────────────────────────────────────────────────────────────────────────────

async function deviceIdentity(
  path: string,
  { attributes, sys }: { attributes: Attributes; sys: string },
): Promise<StorageIdentity> {
  const rdev = Deno.statSync(path).rdev ?? 0;
  const folder = `${sys}/dev/block/${deviceNumbers(rdev)}`;
  const partition = read(`${folder}/partition`);
  const whole = partition === null ? folder : `${folder}/..`;
  const behind = fileBehind(rdev, sys);
  const loop = behind === null ? null : await loopIdentity(behind, attributes);
  if (loop !== null) {
    const uuid = partition === null ? loop.uuid : await derivedUuid(`partition ${partition} ${uuidText(loop.uuid)}`);
    return { uuid, warning: loop.warning };
  }
  const name = DEVICE_NAMES.map((file) => [file, read(`${whole}/${file}`)] as const).find(([, text]) => text !== null);
  if (name !== undefined) {
    const uuid = await derivedUuid(`device ${name.join(" ")} partition ${partition ?? "none"}`);
    return { uuid, warning: null };
  }
  const uuid = await derivedUuid(`device ${deviceNumbers(rdev)} ${hostText()}`);
  const warning =
    `The block device ${quote(path)} has no name of its own: its UUID is made from its number on this host, ` +
    "and becomes another if that changes; --uuid gives it one";
  return { uuid, warning };
}

/** The identity of the file behind a loop device; null if it cannot be opened. Nothing is made beside that file. */
async function loopIdentity(path: string, attributes: Attributes): Promise<StorageIdentity | null> {
  const fd = native().um_file_open(cString(path), 0, 0, 0);
  if (fd < 0) return null;
  try {
    return attributeIdentity({ path, fd }, attributes) ?? await madeFromInode(path);
  } finally {
    native().um_close(fd);
  }
}

/** What tells this host apart. */
function hostText(): string {
  return read("/etc/machine-id") ?? read("/proc/sys/kernel/random/boot_id") ?? Deno.hostname();
}

function read(path: string): string | null {
  try {
    return Deno.readTextFileSync(path).trim() || null;
  } catch {
    return null;
  }
}
