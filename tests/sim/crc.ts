import { native } from "../../ffi/library.ts";

/** CRC32C of parts of `memory`, by the same C code as in the process. */
export function crcOf(memory: Uint8Array<ArrayBuffer>): (offset: number, bytes: number) => number {
  return (offset, bytes) => native().um_crc32c_part(memory, offset, bytes);
}
