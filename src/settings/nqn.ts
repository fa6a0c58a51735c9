/** NVMe Qualified Names: what is one, and which have a meaning of their own (NVMe Base Specification, NVMe Qualified Names). */

/** Longest NQN in bytes, without the terminating zero. */
export const NQN_BYTES_MAX = 223;
/** The well-known name of every discovery subsystem. */
export const DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery";

const UUID_PREFIX = "nqn.2014-08.org.nvmexpress:uuid:";
const NIL_UUID = "00000000-0000-0000-0000-000000000000";

/**
 * Why no controller can have the name `nqn`, as the end of "it …", or null. Targets use names that do not follow the
 * specification's format, such as `nvmet-test`; {@linkcode nqnFormFault} judges the format.
 */
export function nqnFault(nqn: string): string | null {
  if (nqn === "") return "is empty";
  if (new TextEncoder().encode(nqn).length > NQN_BYTES_MAX) return `is longer than ${NQN_BYTES_MAX} bytes`;
  if (!nqn.isWellFormed() || nqn.includes("\ufffd")) return "is not UTF-8";
  if (/\p{Cc}/u.test(nqn)) return "has a control character";
  return null;
}

/** What in `nqn` does not follow the format of an NQN, as the end of "it …", or null. */
export function nqnFormFault(nqn: string): string | null {
  const fault = nqnFault(nqn);
  if (fault !== null) return fault;
  if (!nqn.startsWith("nqn.")) return 'does not start with "nqn."';
  const date = /^nqn\.(\d{4})-(\d{2})\./.exec(nqn);
  if (!date) return 'has no year and month, as in "nqn.2026-11."';
  if (Number(date[2]) < 1 || Number(date[2]) > 12) return `names month ${date[2]}`;
  if (!/^nqn\.\d{4}-\d{2}\.[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:|$)/.test(nqn)) {
    return 'has no reversed domain name after the date, as in "nqn.2026-11.com.example"';
  }
  if (nqn.endsWith(":") && nqn.indexOf(":") === nqn.length - 1) return 'has nothing after the ":"';
  if (nqn.startsWith(UUID_PREFIX) && uuidOfNqn(nqn) === null) return 'has no UUID after ":uuid:"';
  return null;
}

/** The name of a host or subsystem that is known by its UUID only. */
export function uuidNqn(uuid: string): string {
  return UUID_PREFIX + uuid;
}

/** The UUID of an NQN in UUID form, in lower case, or null. */
export function uuidOfNqn(nqn: string): string | null {
  if (!nqn.startsWith(UUID_PREFIX)) return null;
  const uuid = nqn.slice(UUID_PREFIX.length).toLowerCase();
  return isUuid(uuid) ? uuid : null;
}

/** True for a UUID in its usual text form that is not all zeros. */
export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text) && text !== NIL_UUID;
}

/** The 16 bytes of a UUID in text form. */
export function uuidBytes(uuid: string): Uint8Array {
  const hex = uuid.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
