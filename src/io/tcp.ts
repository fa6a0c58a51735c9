import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { ECANCELED, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EPERM, errnoWords, ETIMEDOUT } from "../base/errno.ts";
import { hostReason } from "../base/host_error.ts";
import { quote } from "../base/text.ts";
import type { Poller, Watch } from "./poller.ts";

/** Where a TCP connection goes, and from where. */
export interface TcpEndpoints {
  traddr: string;
  trsvcid: number;
  hostTraddr: string | null;
  hostIface: string | null;
}

/** What this host has run out of, whatever is at the other end. */
export const HOST_LIMITS: readonly number[] = [EMFILE, ENFILE, ENOMEM];

/** A TCP connection that could not be made: why, in words, and the errno. */
export class ConnectFailure extends Error {
  override name = "ConnectFailure";
  constructor(message: string, readonly errno: number) {
    super(message);
  }
}

/**
 * Connects without blocking the thread, within `timeoutMs`, unless `signal` is aborted first.
 *
 * @throws ConnectFailure with the reason in words; UmpathError "host-lacks" if the poller takes no more.
 */
export async function tcpConnect(
  poller: Poller,
  to: TcpEndpoints,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<number> {
  const fd = native().um_tcp_connect(
    cString(to.traddr),
    to.trsvcid,
    cString(to.hostTraddr ?? ""),
    cString(to.hostIface ?? ""),
  );
  if (fd < 0) throw new ConnectFailure(beginWords(to, -fd), -fd);
  let isWritable: boolean;
  try {
    isWritable = await writable(poller, { fd, timeoutMs, signal });
  } catch (error) {
    native().um_socket_close(fd, 1);
    throw error;
  }
  if (!isWritable) {
    native().um_socket_close(fd, 1);
    if (signal?.aborted) throw new ConnectFailure("it was called off", ECANCELED);
    throw new ConnectFailure(`no answer within ${timeoutMs / 1000} s`, ETIMEDOUT);
  }
  const error = native().um_socket_connected(fd);
  if (error < 0) {
    native().um_socket_close(fd, 1);
    throw new ConnectFailure(errnoWords(error), -error);
  }
  return fd;
}

function beginWords(to: TcpEndpoints, errno: number): string {
  const host = [
    to.hostTraddr === null ? "" : ` from ${to.hostTraddr}`,
    to.hostIface === null ? "" : ` through ${to.hostIface}`,
  ].join("");
  if (errno === EINVAL) return `the address${host} is not valid`;
  if (errno === ENODEV && to.hostIface !== null) return `there is no interface ${quote(to.hostIface)} on this host`;
  if (errno === EPERM && to.hostIface !== null) return `binding to ${to.hostIface} needs root`;
  if (HOST_LIMITS.includes(errno)) return hostReason(errno);
  return `${errnoWords(errno)}${host}`;
}

/** True once the socket is writable, false if that does not happen in time or is not waited for any more. */
async function writable(
  poller: Poller,
  { fd, timeoutMs, signal }: { fd: number; timeoutMs: number; signal: AbortSignal | undefined },
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const watch: Watch = { fd, wantsRead: false, wantsWrite: true, onReady: () => resolve(true) };
  const giveUp = () => resolve(false);
  poller.add(watch);
  const timer = setTimeout(giveUp, timeoutMs);
  signal?.addEventListener("abort", giveUp);
  if (signal?.aborted) giveUp();
  const isWritable = await promise;
  clearTimeout(timer);
  signal?.removeEventListener("abort", giveUp);
  poller.remove(watch);
  return isWritable;
}
