/** The Error Information log of one controller (Base 2.0, section 5.16.1.2): the last commands that failed. */

import { StatusField } from "../protocol/nvme_status.ts";
import { ERROR_ENTRY_BYTES, ERROR_LOCATION_NONE, ErrorEntryAt, TransportType } from "../protocol/nvme_log.ts";
import { ByteFields } from "./byte_fields.ts";

/** Entries that are kept; ELPE is one less. */
export const ERROR_LOG_ENTRIES = 64;

/** A command that failed. */
export interface CommandError {
  sqid: number;
  cid: number;
  /** The 15-bit status field. */
  status: number;
  nsid: number;
  /** Byte of the SQE that was wrong, or `ERROR_LOCATION_NONE`. */
  location?: number;
  /** The first logical block that was concerned. */
  lba?: number;
}

export class ErrorLog {
  /** Newest first. */
  readonly #entries: (CommandError & { count: number })[] = [];
  #count = 0;

  /** Errors since the controller was made. */
  get count(): number {
    return this.#count;
  }

  record(error: CommandError): void {
    this.#entries.unshift({ ...error, count: ++this.#count });
    this.#entries.length = Math.min(this.#entries.length, ERROR_LOG_ENTRIES);
  }

  /** The log page, newest entry first. */
  get page(): Uint8Array<ArrayBuffer> {
    const fields = new ByteFields(ERROR_LOG_ENTRIES * ERROR_ENTRY_BYTES);
    this.#entries.forEach((entry, index) => {
      const at = index * ERROR_ENTRY_BYTES;
      fields.u64(at + ErrorEntryAt.COUNT, entry.count)
        .u16(at + ErrorEntryAt.SQID, entry.sqid)
        .u16(at + ErrorEntryAt.CID, entry.cid)
        .u16(at + ErrorEntryAt.STATUS, (entry.status | StatusField.MORE) << 1)
        .u16(at + ErrorEntryAt.LOCATION, entry.location ?? ERROR_LOCATION_NONE)
        .u64(at + ErrorEntryAt.LBA, entry.lba ?? 0)
        .u32(at + ErrorEntryAt.NSID, entry.nsid)
        .u8(at + ErrorEntryAt.TRTYPE, TransportType.TCP);
    });
    return fields.bytes;
  }
}
