/** What faults do to a socket itself. */
import { native } from "../../ffi/library.ts";

/** More than any kernel grants, which then gives as much as it does. */
const WINDOW_BYTES_MAX = 2 ** 31 - 1;

/** Bytes that the peer may have under way; Infinity: as many as the kernel grants. */
export function setWindow(fd: number, bytes: number): void {
  native().um_socket_window(fd, Math.min(bytes, WINDOW_BYTES_MAX));
}
