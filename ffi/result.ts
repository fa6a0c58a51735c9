/** A system call that failed: what was tried, and the kernel's errno as a positive number. */
export class SystemError extends Error {
  override name = "SystemError";
  readonly errno: number;

  constructor(what: string, errno: number) {
    super(`${what}: errno ${errno}`);
    this.errno = errno;
  }
}

/** The one result check of the C library: its functions give -errno where they fail. */
export function check(result: number, what: string): number {
  if (result < 0) throw new SystemError(what, -result);
  return result;
}

/** Text as C wants it. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
