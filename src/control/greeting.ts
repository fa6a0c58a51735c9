/**
 * What a peer says first, which tells what it is: whoever cannot answer ICReq is no NVMe/TCP controller, and another
 * attempt finds the same.
 */
import { quote } from "../base/text.ts";
import type { ConnectionFailure } from "../nvme_host/connection.ts";
import { FatalErrorStatus } from "../protocol/nvme_tcp.ts";

/** Why a queue is over. */
export interface QueueLoss {
  /** "foreign": the port speaks something else; "mismatch": a controller that does not do what it was asked to. */
  kind: "lost" | "foreign" | "mismatch";
  reason: string;
  /** The port takes secured connections only, so that address and port may be right. */
  speaksTls: boolean;
}

/** So much of what a peer says first tells what it is. */
const HEARD_BYTES_MAX = 24;
/** The record of an alert, and the major version that all versions of TLS share (RFC 8446, section 5.1). */
const TLS_ALERT = 0x15;
const TLS_MAJOR = 0x03;

/** What a peer speaks that begins with these bytes, if that is known not to be NVMe/TCP; null otherwise. */
export function foreignWords(heard: Uint8Array): string | null {
  if (isTlsAlert(heard)) return "it speaks TLS, which umpath does not support";
  const text = /^[\x20-\x7e]{4,}/.exec(String.fromCharCode(...heard))?.[0];
  if (text === undefined) return null;
  const cut = text.length === HEARD_BYTES_MAX ? "…" : "";
  return `it is not an NVMe/TCP port: it answered with ${quote(text + cut)}`;
}

function isTlsAlert(heard: Uint8Array): boolean {
  return heard[0] === TLS_ALERT && heard[1] === TLS_MAJOR;
}

/** The first bytes of a peer. */
export class Greeting {
  #heard = new Uint8Array(0);

  /** The peer has said more. */
  hear(bytes: Uint8Array): void {
    const more = bytes.subarray(0, HEARD_BYTES_MAX - this.#heard.length);
    if (more.length > 0) this.#heard = Uint8Array.of(...this.#heard, ...more);
  }

  /** What a failure of the connection means, by what the peer has said before it was ready. */
  lossOf({ reason, fes }: ConnectionFailure, { wasReady }: { wasReady: boolean }): QueueLoss {
    const lost: QueueLoss = { kind: "lost", reason, speaksTls: false };
    if (wasReady) return lost;
    const foreign = foreignWords(this.#heard);
    if (foreign !== null) return { kind: "foreign", reason: foreign, speaksTls: isTlsAlert(this.#heard) };
    if (fes === 0) return lost;
    if (fes === FatalErrorStatus.UNSUPPORTED_PARAMETER) return { ...lost, kind: "mismatch" };
    return { ...lost, kind: "foreign", reason: `it is not an NVMe/TCP port: ${reason}` };
  }
}
