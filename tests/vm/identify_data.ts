/** Changes to what a target says of itself, made on the way by a `PduProxy`. */
import type { PduFate, PduPlace } from "./pdu_proxy.ts";

const C2H_DATA = 7;
const C2H_HEADER_BYTES = 24;
const IDENTIFY_BYTES = 4096;
/** Identify Controller: MDTS and SUBNQN. */
const MDTS_AT = 77;
const SUBNQN_AT = 768;
/** Identify Namespace: NSZE, NCAP and NUSE, blocks. */
const SIZES_AT = [0, 8, 16];
const BLOCK_BYTES = 4096;

type Change = (pdu: Uint8Array, place: PduPlace) => PduFate;

/** Identify data with other bytes. What is not a C2HData PDU of the admin queue goes through unseen. */
function changeIdentify(change: (data: Uint8Array) => void): Change {
  return (pdu) => {
    if (pdu[0] !== C2H_DATA || pdu.length !== C2H_HEADER_BYTES + IDENTIFY_BYTES) return pdu;
    const changed = pdu.slice();
    change(changed.subarray(C2H_HEADER_BYTES));
    return changed;
  };
}

/** A namespace of this UUID seems to have that one. */
export function renamedNamespace(uuid: string, other: string): Change {
  const [from, to] = [uuid, other].map((text) => Uint8Array.fromHex(text.replaceAll("-", "")));
  return changeIdentify((data) => {
    for (let at = 0; at <= data.length - from!.length; at++) {
      if (from!.every((byte, i) => data[at + i] === byte)) data.set(to!, at);
    }
  });
}

/** A namespace of 4096-byte blocks and this size seems to have that one, in MiB. */
export function resizedNamespace(fromMiB: number, toMiB: number): Change {
  const [from, to] = [fromMiB, toMiB].map((size) => BigInt(size << 20) / BigInt(BLOCK_BYTES));
  return changeIdentify((data) => {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (view.getBigUint64(SIZES_AT[0]!, true) !== from) return;
    for (const at of SIZES_AT) view.setBigUint64(at, to!, true);
  });
}

/** The controller of this subsystem seems to take 2^mdts pages of 4 KiB in a command. */
export function limitedTransfer(nqn: string, mdts: number): Change {
  const name = new TextEncoder().encode(nqn);
  return changeIdentify((data) => {
    if (name.every((byte, i) => data[SUBNQN_AT + i] === byte)) data[MDTS_AT] = mdts;
  });
}
