import { messageOf, UmpathError } from "../base/errors.ts";
import { TARGET_LISTENERS_MAX } from "../base/limits.ts";
import { logger } from "../base/log.ts";
import { count, quote } from "../base/text.ts";
import type { Poller } from "../io/poller.ts";
import type { ListenerDescription } from "../nvme_target/description.ts";
import type { PortalName } from "../rpc/target_api.ts";
import type { Handshake } from "./handshake.ts";
import { Portal, portalWords } from "./portal.ts";

const log = logger("serve");

/** One place where the target listens, open or closed. */
export interface Listener {
  readonly description: ListenerDescription;
  /** Hosts are told of it. A fault may keep it closed all the same. */
  isListed: boolean;
  /** Null while it is closed. */
  portal: Portal | null;
  /** Connections of hosts that are not connected to a queue yet. */
  readonly handshakes: Set<Handshake>;
}

/** Where a target listens: each place has a number, which it has again when it comes back after it was removed. */
export class Listeners {
  readonly #poller: Poller;
  readonly #onConnection: (listener: Listener, fd: number, peer: string) => void;
  readonly #listeners: (Listener | null)[] = [];

  constructor(poller: Poller, onConnection: (listener: Listener, fd: number, peer: string) => void) {
    this.#poller = poller;
    this.#onConnection = onConnection;
  }

  /** Those that hosts are told of. */
  get listed(): Listener[] {
    return this.#listeners.filter((listener) => listener?.isListed === true) as Listener[];
  }

  /** The one with that number, which was added. */
  at(index: number): Listener {
    return this.#listeners[index]!;
  }

  /** Handshakes at all of them. */
  get handshakes(): number {
    return this.#listeners.reduce((sum, listener) => sum + (listener?.handshakes.size ?? 0), 0);
  }

  /**
   * Listens there.
   *
   * @throws UmpathError as `Portal` does, or "in-use" if it is listened to already or there are too many.
   */
  add({ traddr, trsvcid }: PortalName): Listener {
    const index = this.#freeIndex({ traddr, trsvcid });
    const portal = this.#open(index, { traddr, trsvcid });
    const description: ListenerDescription = { index, traddr, trsvcid: portal.trsvcid };
    const listener: Listener = {
      ...{ description, isListed: true, portal },
      handshakes: new Set<Handshake>(),
    };
    this.#listeners[index] = listener;
    return listener;
  }

  #open(index: number, name: PortalName): Portal {
    return new Portal(this.#poller, name, (fd, peer) => this.#onConnection(this.at(index), fd, peer));
  }

  /** The number that the place had before, else a number that is free, else that of a place that was removed. */
  #freeIndex(name: PortalName): number {
    const known = this.#listeners.findIndex((listener) => listener !== null && isAt(listener, name));
    if (known >= 0) {
      if (!this.at(known).isListed) return known;
      throw new UmpathError("in-use", `Cannot listen on ${quote(nameWords(name))}: this target listens there already`);
    }
    for (let index = 0; index < TARGET_LISTENERS_MAX; index++) if (this.#listeners[index] == null) return index;
    const closed = this.#listeners.findIndex((listener) => !listener!.isListed);
    if (closed >= 0) return closed;
    const most = count(TARGET_LISTENERS_MAX, "address", "addresses");
    throw new UmpathError("in-use", `Cannot listen on more than ${most}`);
  }

  /** @throws UmpathError "not-found" if hosts are told of none there. */
  find(name: PortalName): Listener {
    const found = this.listed.find((listener) => isAt(listener, name));
    if (found) return found;
    throw new UmpathError("not-found", `No listener ${quote(nameWords(name))} is there`, {
      hint: "umpath target show lists the listeners",
    });
  }

  /** Takes no more connections there, and ends those that are not connected to a queue. */
  remove(listener: Listener): void {
    listener.isListed = false;
    for (const handshake of [...listener.handshakes]) handshake.close();
    this.#closePortal(listener);
  }

  /** As if the way to it was cut. */
  takeDown(listener: Listener): void {
    log.info(`${listenerWords(listener)} is down`);
    for (const handshake of [...listener.handshakes]) handshake.reset();
    this.#closePortal(listener);
  }

  #closePortal(listener: Listener): void {
    listener.portal?.close();
    listener.portal = null;
  }

  /** Listens there again, if it is wanted. */
  bringUp(listener: Listener): void {
    if (!listener.isListed || listener.portal !== null) return;
    try {
      listener.portal = this.#open(listener.description.index, listener.description);
      log.info(`${listenerWords(listener)} is up again`);
    } catch (error) {
      log.error(`Cannot bring ${listenerWords(listener)} up again: ${messageOf(error)}`);
    }
  }
}

function isAt({ description }: Listener, { traddr, trsvcid }: PortalName): boolean {
  return description.traddr === traddr && description.trsvcid === trsvcid;
}

function nameWords({ traddr, trsvcid }: PortalName): string {
  return portalWords(traddr, trsvcid);
}

/** The address and port of a listener. */
export function listenerWords({ description }: Listener): string {
  return nameWords(description);
}
