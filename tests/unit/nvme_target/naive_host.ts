/**
 * What a host sends and receives on one NVMe/TCP connection, for tests: as simple as it can be written, with plain
 * numbers from the specification instead of our names, so that no mistake of `src/` is repeated here.
 */

/** CRC32C bit by bit: reflected polynomial 82F63B78h, all ones at both ends. */
export function naiveCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** A PDU of the target, taken apart. */
export interface TargetPdu {
  type: number;
  flags: number;
  hlen: number;
  pdo: number;
  plen: number;
  /** The header without its digest. */
  header: DataView;
  data: Uint8Array;
  /** True if there is no digest, or it is right. */
  headerDigestOk: boolean;
  dataDigestOk: boolean;
}

export interface CommandFields {
  cid: number;
  opcode: number;
  /** Byte 4 of the entry: FCTYPE of a Fabrics command. */
  fctype?: number;
  /** Byte 1 of the entry. */
  flags?: number;
  /** SGL of the entry; what is left out fits the data. */
  sgl?: { identifier?: number; length?: number; address?: number };
  /** Data in the capsule. */
  data?: Uint8Array;
  pdo?: number;
  dwords?: Record<number, number>;
}

export class NaiveHost {
  headerDigest = false;
  dataDigest = false;
  #in: number[] = [];

  // ── PDUs to the target ────────────────────────────────────────────────────────────────────────────────────────────

  icReq(fields: { pfv?: number; hpda?: number; dgst?: number; maxr2t?: number } = {}): Uint8Array<ArrayBuffer> {
    const pdu = new Uint8Array(128);
    const view = new DataView(pdu.buffer);
    pdu[0] = 0;
    pdu[2] = 128;
    view.setUint32(4, 128, true);
    view.setUint16(8, fields.pfv ?? 0, true);
    pdu[10] = fields.hpda ?? 0;
    pdu[11] = fields.dgst ?? 0;
    view.setUint32(12, fields.maxr2t ?? 0, true);
    return pdu;
  }

  /** A capsule; a command without data in it names `sgl.length` bytes by a transport data block. */
  command(fields: CommandFields): Uint8Array<ArrayBuffer> {
    const header = new Uint8Array(72);
    const view = new DataView(header.buffer);
    header[0] = 4;
    header[2] = 72;
    const entry = 8;
    header[entry] = fields.opcode;
    header[entry + 1] = fields.flags ?? 0x40;
    view.setUint16(entry + 2, fields.cid, true);
    view.setUint32(entry + 4, 1, true);
    if (fields.fctype !== undefined) header[entry + 4] = fields.fctype;
    const { address = 0, length = fields.data?.length ?? 0 } = fields.sgl ?? {};
    view.setUint32(entry + 24, address, true);
    view.setUint32(entry + 32, length, true);
    header[entry + 39] = fields.sgl?.identifier ?? (fields.data === undefined ? 0x5a : 0x01);
    for (const [dword, value] of Object.entries(fields.dwords ?? {})) view.setUint32(entry + 4 * +dword, value, true);
    return this.#pdu(header, fields.data ?? new Uint8Array(0), fields.pdo);
  }

  h2cData(
    cid: number,
    fields: { tag: number; offset?: number; data: Uint8Array; last?: boolean; pdo?: number; datal?: number },
  ): Uint8Array<ArrayBuffer> {
    const header = new Uint8Array(24);
    const view = new DataView(header.buffer);
    header[0] = 6;
    header[1] = fields.last ?? true ? 4 : 0;
    header[2] = 24;
    view.setUint16(8, cid, true);
    view.setUint16(10, fields.tag, true);
    view.setUint32(12, fields.offset ?? 0, true);
    view.setUint32(16, fields.datal ?? fields.data.length, true);
    return this.#pdu(header, fields.data, fields.pdo);
  }

  termReq(fes: number, fei = 0, data = new Uint8Array(0)): Uint8Array<ArrayBuffer> {
    const pdu = new Uint8Array(24 + data.length);
    const view = new DataView(pdu.buffer);
    pdu[0] = 2;
    pdu[2] = 24;
    view.setUint32(4, pdu.length, true);
    view.setUint16(8, fes, true);
    view.setUint32(10, fei, true);
    pdu.set(data, 24);
    return pdu;
  }

  /** Header, its digest, padding (not zero), data and its digest. */
  #pdu(header: Uint8Array<ArrayBuffer>, data: Uint8Array, pdo?: number): Uint8Array<ArrayBuffer> {
    const headerBytes = header.length + (this.headerDigest ? 4 : 0);
    const dataAt = pdo ?? headerBytes;
    const hasData = data.length > 0;
    const bytes = hasData ? Math.max(dataAt, headerBytes) + data.length + (this.dataDigest ? 4 : 0) : headerBytes;
    if (this.headerDigest) header[1] |= 1;
    if (this.dataDigest && hasData) header[1] |= 2;
    header[3] = hasData ? dataAt : 0;
    new DataView(header.buffer).setUint32(4, bytes, true);
    const pdu = new Uint8Array(bytes).fill(0xdd);
    const view = new DataView(pdu.buffer);
    pdu.set(header);
    if (this.headerDigest) view.setUint32(header.length, naiveCrc32c(header), true);
    if (hasData) pdu.set(data, Math.max(dataAt, headerBytes));
    if (hasData && this.dataDigest) view.setUint32(bytes - 4, naiveCrc32c(data), true);
    return pdu;
  }

  // ── PDUs of the target ────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes bytes of the target, in any pieces: the PDUs that are complete now. */
  receive(bytes: Uint8Array): TargetPdu[] {
    for (const byte of bytes) this.#in.push(byte);
    const pdus: TargetPdu[] = [];
    while (this.#in.length >= 8) {
      const plen = this.#in[4] | (this.#in[5] << 8) | (this.#in[6] << 16) | (this.#in[7] << 24);
      if (plen < 8 || plen > 1 << 26) throw new Error(`The target sent a PDU of ${plen} bytes`);
      if (this.#in.length < plen) break;
      pdus.push(this.#takeApart(new Uint8Array(this.#in.splice(0, plen))));
    }
    return pdus;
  }

  #takeApart(pdu: Uint8Array<ArrayBuffer>): TargetPdu {
    const view = new DataView(pdu.buffer);
    const [type, flags, hlen, pdo] = pdu;
    const plain = type === 1 || type === 3;
    const headerBytes = hlen + (this.headerDigest && !plain ? 4 : 0);
    const hasData = type === 7;
    const end = pdu.length - (hasData && this.dataDigest ? 4 : 0);
    const data = hasData ? pdu.slice(pdo, end) : new Uint8Array(0);
    if (!plain && ((flags & 1) !== 0) !== this.headerDigest) throw new Error("HDGSTF is not as agreed");
    if (!plain && ((flags & 2) !== 0) !== (hasData && this.dataDigest)) throw new Error("DDGSTF is not as agreed");
    if (!hasData && !plain && (pdo !== 0 || pdu.length !== headerBytes)) {
      throw new Error(`PLEN ${pdu.length} of type ${type}`);
    }
    if (hasData && (pdo < headerBytes || data.length !== view.getUint32(16, true))) throw new Error("Shape of C2HData");
    if (hasData && pdu.subarray(headerBytes, pdo).some((byte) => byte !== 0)) throw new Error("Padding is not zero");
    return {
      ...{ type, flags, hlen, pdo, data, plen: pdu.length, header: new DataView(pdu.buffer, 0, hlen) },
      headerDigestOk: headerBytes === hlen || view.getUint32(hlen, true) === naiveCrc32c(pdu.subarray(0, hlen)),
      dataDigestOk: end === pdu.length || view.getUint32(end, true) === naiveCrc32c(data),
    };
  }
}

/** The fields of a CapsuleResp. */
export function response(pdu: TargetPdu): { cid: number; status: number; dw0: number; dw1: number; sqhd: number } {
  if (pdu.type !== 5) throw new Error(`A PDU of type ${pdu.type} is no response`);
  const { header } = pdu;
  if (header.getUint16(18, true) !== 0 || (header.getUint16(22, true) & 1) !== 0) throw new Error("Reserved fields");
  return {
    dw0: header.getUint32(8, true),
    dw1: header.getUint32(12, true),
    sqhd: header.getUint16(16, true),
    cid: header.getUint16(20, true),
    status: header.getUint16(22, true) >>> 1,
  };
}

/** The fields of an R2T. */
export function r2t(pdu: TargetPdu): { cid: number; tag: number; offset: number; bytes: number } {
  if (pdu.type !== 9) throw new Error(`A PDU of type ${pdu.type} is no R2T`);
  const { header } = pdu;
  return {
    cid: header.getUint16(8, true),
    tag: header.getUint16(10, true),
    offset: header.getUint32(12, true),
    bytes: header.getUint32(16, true),
  };
}

/** The fields of a C2HData PDU. */
export function c2hData(pdu: TargetPdu): { cid: number; offset: number; last: boolean; success: boolean } {
  if (pdu.type !== 7) throw new Error(`A PDU of type ${pdu.type} is no C2HData`);
  return {
    cid: pdu.header.getUint16(8, true),
    offset: pdu.header.getUint32(12, true),
    last: (pdu.flags & 4) !== 0,
    success: (pdu.flags & 8) !== 0,
  };
}
