import { native } from "../../ffi/library.ts";
import { cString } from "../../ffi/result.ts";
import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ECONNABORTED, EINTR, EINVAL, errnoWords } from "../base/errno.ts";
import { messageOf, UmpathError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { quote } from "../base/text.ts";
import type { Poller, Watch } from "../io/poller.ts";

const log = logger("serve");

const BACKLOG = 128;
/** Connections taken at a time, so that what else there is comes to its turn. */
const ACCEPTS_MAX = 16;
/** Pause after an accept that failed because this process or host is out of something. */
const RETRY_MS = 200;
const ADDRESS_BYTES_MAX = 64;

/** An address and port of this target: a socket that listens, and gives away the connections of hosts. */
export class Portal {
  readonly traddr: string;
  readonly trsvcid: number;
  readonly #poller: Poller;
  readonly #watch: Watch;
  readonly #onConnection: (fd: number, peer: string) => void;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** An accept has failed for want of something, and hosts have waited since. */
  #isLacking = false;

  /**
   * Listens; port 0 takes a free one.
   *
   * @throws UmpathError "in-use" if somebody has the port, "host-lacks" if the address is not this host's.
   */
  constructor(
    poller: Poller,
    { traddr, trsvcid }: { traddr: string; trsvcid: number },
    onConnection: (fd: number, peer: string) => void,
  ) {
    const fd = native().um_tcp_listen(cString(traddr), trsvcid, BACKLOG);
    if (fd < 0) throw cannotListen(portalWords(traddr, trsvcid), -fd);
    try {
      this.traddr = traddr;
      this.trsvcid = native().um_socket_name(fd, 0, new Uint8Array(ADDRESS_BYTES_MAX), ADDRESS_BYTES_MAX);
      this.#poller = poller;
      this.#onConnection = onConnection;
      this.#watch = { fd, wantsRead: true, wantsWrite: false, onReady: () => this.#acceptSome() };
      poller.add(this.#watch);
    } catch (error) {
      native().um_socket_close(fd, 0);
      throw error;
    }
  }

  #acceptSome(): void {
    for (let i = 0; i < ACCEPTS_MAX; i++) {
      const fd = native().um_tcp_accept(this.#watch.fd);
      if (fd >= 0) this.#take(fd);
      else if (fd === -EAGAIN) return this.#handleNoneWaits();
      else if (fd !== -EINTR && fd !== -ECONNABORTED) return this.#pause(-fd);
    }
  }

  #handleNoneWaits(): void {
    if (this.#isLacking) log.info(`${this.#words} takes connections again`);
    this.#isLacking = false;
  }

  #take(fd: number): void {
    const peer = peerWords(fd);
    try {
      this.#onConnection(fd, peer);
    } catch (error) {
      // One connection that there is no room for costs neither the listener nor the poller.
      log.error(`Cannot take the connection of ${peer}: ${messageOf(error)}`);
      native().um_socket_close(fd, 1);
    }
  }

  /** What this process or host is out of is said once, and tried again until there is some. */
  #pause(errno: number): void {
    if (!this.#isLacking) {
      log.error(
        `${this.#words} cannot take connections for now: ${errnoWords(errno)}. Hosts wait until it can`,
      );
    }
    this.#isLacking = true;
    this.#wantRead(false);
    this.#retry = setTimeout(() => this.#wantRead(true), RETRY_MS);
  }

  get #words(): string {
    return portalWords(this.traddr, this.trsvcid);
  }

  #wantRead(wanted: boolean): void {
    this.#watch.wantsRead = wanted;
    this.#poller.change(this.#watch);
  }

  /** Listens no more. Connections that were not taken yet are reset. */
  close(): void {
    clearTimeout(this.#retry);
    native().um_socket_shutdown(this.#watch.fd);
    this.#poller.remove(this.#watch);
    native().um_socket_close(this.#watch.fd, 0);
  }
}

function cannotListen(words: string, errno: number): UmpathError {
  const message = `Cannot listen on ${quote(words)}: ${errnoWords(errno)}`;
  switch (errno) {
    case EADDRINUSE:
      return new UmpathError("in-use", message, {
        hint: "Give another port (0 is a free one), or end the program that listens there",
      });
    case EADDRNOTAVAIL:
      return new UmpathError("host-lacks", message, { hint: "`ip address` lists the addresses of this host" });
    case EACCES:
      return new UmpathError("host-lacks", message, { hint: "Ports below 1024 need root" });
    case EINVAL:
      return new UmpathError("usage", message, { hint: "Write an IPv4 or IPv6 address of this host" });
  }
  return new UmpathError("host-lacks", message);
}

/** `127.0.0.1:4420` or `[::1]:4420`. */
export function portalWords(traddr: string, trsvcid: number): string {
  return traddr.includes(":") ? `[${traddr}]:${trsvcid}` : `${traddr}:${trsvcid}`;
}

function peerWords(fd: number): string {
  const bytes = new Uint8Array(ADDRESS_BYTES_MAX);
  const port = native().um_socket_name(fd, 1, bytes, bytes.length);
  if (port < 0) return "a host that has left";
  return portalWords(new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0))), port);
}
