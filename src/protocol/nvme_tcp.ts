/**
 * NVMe over TCP in its own words (NVMe TCP Transport Specification 1.0 and 1.1). Every offset is in bytes from the first
 * byte of the PDU; every number on the wire is little-endian.
 */

/** PDU types, byte 0 of every PDU (section 3.6.2). 08h is not assigned. */
export const PduType = {
  ICReq: 0x00,
  ICResp: 0x01,
  H2CTermReq: 0x02,
  C2HTermReq: 0x03,
  CapsuleCmd: 0x04,
  CapsuleResp: 0x05,
  H2CData: 0x06,
  C2HData: 0x07,
  R2T: 0x09,
} as const;

const PDU_NAMES: readonly (string | undefined)[] = [
  "ICReq",
  "ICResp",
  "H2CTermReq",
  "C2HTermReq",
  "CapsuleCmd",
  "CapsuleResp",
  "H2CData",
  "C2HData",
  undefined,
  "R2T",
];

/** The name of a PDU type for messages: `pduName(9)` is "R2T"; an unassigned type is named by its number. */
export function pduName(type: number): string {
  return PDU_NAMES[type] ?? `PDU of the unknown type 0x${type.toString(16).padStart(2, "0")}`;
}

/** Bytes that every PDU starts with (section 3.6.2). */
export const PDU_COMMON_HEADER_BYTES = 8;

/** The common header (section 3.6.2). */
export const PduAt = {
  /** PDU-Type, u8: {@linkcode PduType}. */
  TYPE: 0,
  /** FLAGS, u8: {@linkcode PduFlag}. */
  FLAGS: 1,
  /** Header length, u8: bytes before the header digest. */
  HLEN: 2,
  /** PDU data offset, u8: bytes from the start of the PDU to its data; 0 if it has none. */
  PDO: 3,
  /** PDU length, u32: header, header digest, padding, data and data digest. */
  PLEN: 4,
} as const;

/** FLAGS of the common header (section 3.6.2). */
export const PduFlag = {
  /** HDGSTF: a header digest follows the header. */
  HDGSTF: 0x01,
  /** DDGSTF: a data digest follows the data. */
  DDGSTF: 0x02,
  /** LAST_PDU of H2CData and C2HData: the last data PDU of this R2T or command. */
  LAST_PDU: 0x04,
  /** SUCCESS of C2HData: the command is complete with status 0 and no CapsuleResp follows. Only with LAST_PDU. */
  SUCCESS: 0x08,
} as const;

/** HLEN of each PDU type, bytes (section 3.6.2). */
export const PduHlen = {
  ICReq: 128,
  ICResp: 128,
  H2CTermReq: 24,
  C2HTermReq: 24,
  CapsuleCmd: 72,
  CapsuleResp: 24,
  H2CData: 24,
  C2HData: 24,
  R2T: 24,
} as const;

const HLEN_BY_TYPE = new Uint8Array(256);
HLEN_BY_TYPE[PduType.ICReq] = PduHlen.ICReq;
HLEN_BY_TYPE[PduType.ICResp] = PduHlen.ICResp;
HLEN_BY_TYPE[PduType.H2CTermReq] = PduHlen.H2CTermReq;
HLEN_BY_TYPE[PduType.C2HTermReq] = PduHlen.C2HTermReq;
HLEN_BY_TYPE[PduType.CapsuleCmd] = PduHlen.CapsuleCmd;
HLEN_BY_TYPE[PduType.CapsuleResp] = PduHlen.CapsuleResp;
HLEN_BY_TYPE[PduType.H2CData] = PduHlen.H2CData;
HLEN_BY_TYPE[PduType.C2HData] = PduHlen.C2HData;
HLEN_BY_TYPE[PduType.R2T] = PduHlen.R2T;

/** The HLEN that a PDU type must have, bytes; 0 for a type that is not assigned. */
export function pduHlen(type: number): number {
  return HLEN_BY_TYPE[type & 0xff];
}

/** Bytes of a header digest or a data digest: one CRC32C, little-endian (section 3.3.1). */
export const DIGEST_BYTES = 4;

/** Initialize Connection Request (section 3.6.2.2). */
export const ICReqAt = {
  /** PDU format version, u16: 0. */
  PFV: 8,
  /** Host PDU data alignment, u8: dwords, 0's based, at most 31. Aligns the data of C2HData. */
  HPDA: 10,
  /** DGST, u8: {@linkcode DigestFlag}. */
  DGST: 11,
  /** Outstanding R2Ts for each command, u32, 0's based. */
  MAXR2T: 12,
} as const;

/** Initialize Connection Response (section 3.6.2.3). */
export const ICRespAt = {
  /** PDU format version, u16: 0. */
  PFV: 8,
  /** Controller PDU data alignment, u8: dwords, 0's based, at most 31. Aligns the data of CapsuleCmd and H2CData. */
  CPDA: 10,
  /** DGST, u8: {@linkcode DigestFlag}, those that both sides use from here on. */
  DGST: 11,
  /** The most data in one H2CData PDU, u32, bytes: a multiple of 4, at least 4096. */
  MAXH2CDATA: 12,
} as const;

/** The DGST field of ICReq and ICResp. */
export const DigestFlag = {
  /** HDGST_ENABLE. */
  HDGST: 0x01,
  /** DDGST_ENABLE. */
  DDGST: 0x02,
} as const;

/** The only PDU format version there is. */
export const PFV_1_0 = 0;
/** Largest HPDA and CPDA: alignment to 128 bytes. */
export const PDA_MAX = 31;
/** Smallest MAXH2CDATA that a controller may give, bytes. */
export const MAXH2CDATA_MIN = 4096;

/** Alignment in bytes that an HPDA or CPDA value asks for. */
export function pduDataAlignment(pda: number): number {
  return (pda + 1) * 4;
}

/** Command capsule (section 3.6.2.6). In-capsule data is at PDO. */
export const CapsuleCmdAt = {
  /** The submission queue entry, 64 bytes. */
  SQE: 8,
} as const;

/** Response capsule (section 3.6.2.7). It has no data. */
export const CapsuleRespAt = {
  /** The completion queue entry, 16 bytes. */
  CQE: 8,
} as const;

/** Host to controller data (section 3.6.2.8). */
export const H2CDataAt = {
  /** CID of the command, u16. */
  CCCID: 8,
  /** The tag of the R2T that this answers, u16. */
  TTAG: 10,
  /** Offset of the data from the start of the command's data, u32, bytes. */
  DATAO: 12,
  /** Bytes of data, u32. */
  DATAL: 16,
} as const;

/** Controller to host data (section 3.6.2.9). */
export const C2HDataAt = {
  /** CID of the command, u16. */
  CCCID: 8,
  /** Offset of the data from the start of the command's data, u32, bytes. */
  DATAO: 12,
  /** Bytes of data, u32. */
  DATAL: 16,
} as const;

/** Ready to transfer (section 3.6.2.10). */
export const R2TAt = {
  /** CID of the command, u16. */
  CCCID: 8,
  /** Transfer tag, u16, echoed in H2CData. */
  TTAG: 10,
  /** R2TO: offset from the start of the command's data, u32, bytes. */
  R2TO: 12,
  /** R2TL: bytes asked for, u32. */
  R2TL: 16,
} as const;

/** Termination request of either side (sections 3.6.2.4 and 3.6.2.5). The offending header follows the header. */
export const TermReqAt = {
  /** Fatal error status, u16: {@linkcode FatalErrorStatus}. */
  FES: 8,
  /** Fatal error information, u32, unaligned: the offset of a bad field, or the digest that was received. */
  FEI: 10,
  /** As much of the offending PDU's header as is told. */
  DATA: 24,
} as const;

/** The most of the offending header that a termination request carries, bytes. */
export const TERM_REQ_DATA_BYTES_MAX = 128;
/** Largest PLEN of a termination request, bytes. */
export const TERM_REQ_PLEN_MAX = PduHlen.C2HTermReq + TERM_REQ_DATA_BYTES_MAX;

/** Fatal error status of a termination request (sections 3.6.2.4 and 3.6.2.5). */
export const FatalErrorStatus = {
  INVALID_PDU_HEADER_FIELD: 0x01,
  PDU_SEQUENCE_ERROR: 0x02,
  HEADER_DIGEST_ERROR: 0x03,
  DATA_TRANSFER_OUT_OF_RANGE: 0x04,
  /** In H2CTermReq: R2T limit exceeded. In C2HTermReq: data transfer limit exceeded. */
  LIMIT_EXCEEDED: 0x05,
  UNSUPPORTED_PARAMETER: 0x06,
} as const;

const FES_WORDS: Record<number, string> = {
  [FatalErrorStatus.INVALID_PDU_HEADER_FIELD]: "invalid PDU header field",
  [FatalErrorStatus.PDU_SEQUENCE_ERROR]: "PDU sequence error",
  [FatalErrorStatus.HEADER_DIGEST_ERROR]: "header digest error",
  [FatalErrorStatus.DATA_TRANSFER_OUT_OF_RANGE]: "data transfer out of range",
  [FatalErrorStatus.LIMIT_EXCEEDED]: "data transfer or R2T limit exceeded",
  [FatalErrorStatus.UNSUPPORTED_PARAMETER]: "unsupported parameter",
};

/**
 * The reason of a termination request in words: `fatalErrorWords(1, 3)` is
 * "invalid PDU header field (byte 3 of the header)".
 */
export function fatalErrorWords(fes: number, fei = 0): string {
  const words = FES_WORDS[fes];
  if (words === undefined) return `unknown fatal error 0x${fes.toString(16).padStart(2, "0")}`;
  const namesField = fes === FatalErrorStatus.INVALID_PDU_HEADER_FIELD ||
    fes === FatalErrorStatus.UNSUPPORTED_PARAMETER;
  if (namesField) return `${words} (byte ${fei} of the header)`;
  if (fes === FatalErrorStatus.HEADER_DIGEST_ERROR) return `${words} (received 0x${fei.toString(16).padStart(8, "0")})`;
  return words;
}

/** In-capsule data that every controller takes with Fabrics and Admin commands, bytes (section 3.3.2.2 of 1.0). */
export const ADMIN_IN_CAPSULE_BYTES = 8192;

/** TCP port of an NVM subsystem's I/O controllers, as IANA lists it (section 3.1.1). */
export const NVME_TCP_PORT = 4420;
/** TCP port of a discovery controller (section 3.1.1). */
export const NVME_TCP_DISCOVERY_PORT = 8009;
