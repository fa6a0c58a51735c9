/** What the protocol does not allow in the headers that a host sends, and how the host is told of it. */
import {
  FatalErrorStatus,
  PDU_COMMON_HEADER_BYTES,
  PduAt,
  PduFlag,
  PduHlen,
  pduHlen,
  pduName,
  PduType,
  TERM_REQ_DATA_BYTES_MAX,
  TermReqAt,
} from "../protocol/nvme_tcp.ts";

/** A fault that ends the connection. */
export interface PduFault {
  /** What the host did, in words that follow "the host". */
  readonly words: string;
  /** Fatal error status and information (NVMe/TCP, section 3.6.2.5). */
  readonly fes: number;
  readonly fei: number;
}

/** A fault in the byte `fei` of the header, unless it is another kind. */
export function pduFault(
  words: string,
  fei: number,
  fes: number = FatalErrorStatus.INVALID_PDU_HEADER_FIELD,
): PduFault {
  return { words, fes, fei };
}

/** Checks type, order, length of the header, and flags; for the digests that are agreed on. */
export function commonHeaderFault(
  header: { readonly type: number; readonly flags: number; readonly hlen: number },
  state: { readonly isWaiting: boolean; readonly headerDigest: boolean; readonly dataDigest: boolean },
): PduFault | null {
  const { type, flags, hlen } = header;
  const name = pduName(type);
  if (pduHlen(type) === 0) return pduFault(`sent a ${name}`, PduAt.TYPE);
  const isFirst = type === PduType.ICReq;
  const isEnd = type === PduType.H2CTermReq;
  if (!isFirst && !isEnd && type !== PduType.CapsuleCmd && type !== PduType.H2CData) {
    return pduFault(`sent a ${name}, which only controllers send`, PduAt.TYPE);
  }
  if (!isEnd && isFirst !== state.isWaiting) {
    const words = isFirst ? "sent a second ICReq" : `began with a ${name}`;
    return pduFault(words, 0, FatalErrorStatus.PDU_SEQUENCE_ERROR);
  }
  if (hlen !== pduHlen(type)) return pduFault(`sent a ${name} with a header of ${hlen} bytes`, PduAt.HLEN);
  if (isEnd) return null;
  const unagreed = (state.headerDigest ? 0 : PduFlag.HDGSTF) | (state.dataDigest ? 0 : PduFlag.DDGSTF);
  if ((flags & unagreed) !== 0) return pduFault(`sent a ${name} with a digest, which was not agreed on`, PduAt.FLAGS);
  if (state.headerDigest && (flags & PduFlag.HDGSTF) === 0) {
    return pduFault(`sent a ${name} without the header digest that was agreed on`, PduAt.FLAGS);
  }
  return null;
}

/** A PDU has a length that its type, or its fields, do not allow. */
export function plenFault(type: number, plen: number): PduFault {
  return pduFault(`sent a ${pduName(type)} of ${plen} bytes`, PduAt.PLEN);
}

/** The part of a header that a termination request shows: all of it, as far as `available` bytes hold it. */
export function offendingBytes(type: number, available: number): number {
  return Math.min(available, pduHlen(type) || PDU_COMMON_HEADER_BYTES, TERM_REQ_DATA_BYTES_MAX);
}

/** The C2HTermReq that tells a host of its fault and shows it the header (section 3.6.2.5). */
export function terminationRequest(fes: number, fei: number, offending: Uint8Array): Uint8Array<ArrayBuffer> {
  const pdu = new Uint8Array(PduHlen.C2HTermReq + offending.length);
  const view = new DataView(pdu.buffer);
  view.setUint8(PduAt.TYPE, PduType.C2HTermReq);
  view.setUint8(PduAt.HLEN, PduHlen.C2HTermReq);
  view.setUint32(PduAt.PLEN, pdu.length, true);
  view.setUint16(TermReqAt.FES, fes, true);
  view.setUint32(TermReqAt.FEI, fei, true);
  pdu.set(offending, TermReqAt.DATA);
  return pdu;
}
