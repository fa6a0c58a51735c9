import { DigestFlag } from "../protocol/nvme_tcp.ts";

/** CRC32C of a part of the arena that a connection works in. */
export type Crc32c = (offset: number, bytes: number) => number;

/** Which digests PDUs have (NVMe/TCP 1.0, section 3.3.1). */
export interface Digests {
  readonly header: boolean;
  readonly data: boolean;
}

export const NO_DIGESTS: Digests = Object.freeze({ header: false, data: false });

/** The DGST field of ICReq and ICResp for `digests`. */
export function digestField(digests: Digests): number {
  return (digests.header ? DigestFlag.HDGST : 0) | (digests.data ? DigestFlag.DDGST : 0);
}

/** What the IC exchange settled; enough for another thread to go on with the connection. */
export interface TransferParameters {
  /** Most bytes in one H2CData PDU. */
  readonly maxH2cDataBytes: number;
  /** Alignment of data in PDUs to the controller, in bytes. */
  readonly dataAlignment: number;
  readonly digests: Digests;
}
