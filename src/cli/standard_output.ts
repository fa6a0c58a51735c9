/**
 * Standard output, which may not be there to write to. The runtime drops what is written to a descriptor that is open
 * for reading only, without an error. The entry stub of the packed program opens a closed standard output so.
 */
import { UmpathError } from "../base/errors.ts";

const STDOUT_INFO = "/proc/self/fdinfo/1";
/** The access mode among the flags of open(2) */
const ACCESS_MODE = 0o3;
const READ_ONLY = 0;

let isChecked = false;

/**
 * Writes to standard output and returns how many bytes it took.
 *
 * @throws UmpathError "host-lacks" if it is closed, or open for reading only.
 */
export function writeStdout(bytes: Uint8Array): number {
  if (!isChecked && isReadOnly(descriptorInfo())) {
    throw new UmpathError("host-lacks", "Cannot write the output: standard output is closed or open for reading only", {
      hint: "Send it to a file, a pipe or /dev/null",
    });
  }
  isChecked = true;
  return Deno.stdout.writeSync(bytes);
}

/** True if `info`, the text of proc(5) about a descriptor, says that it is open for reading only. */
export function isReadOnly(info: string): boolean {
  const flags = /^flags:\s*([0-7]+)$/m.exec(info)?.[1];
  return flags !== undefined && (parseInt(flags, 8) & ACCESS_MODE) === READ_ONLY;
}

/** Empty if the kernel does not tell: then the write itself says what is wrong. */
function descriptorInfo(): string {
  try {
    return Deno.readTextFileSync(STDOUT_INFO);
  } catch {
    return "";
  }
}
