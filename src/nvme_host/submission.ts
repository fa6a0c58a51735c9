import { SQE_BYTES } from "../protocol/nvme.ts";
import { DataDirection } from "./command_table.ts";

/** One command to submit. Made once and filled again for each use. */
export class Submission {
  /** The submission queue entry as 16 dwords. The connection fills in the CID and the data pointer. */
  readonly sqe: Uint32Array = new Uint32Array(SQE_BYTES / 4);
  /** One of {@linkcode DataDirection}. */
  direction: number = DataDirection.NONE;
  /** The data in the arena. */
  dataOffset = 0;
  dataBytes = 0;
  /** A number of the submitter's, given back with the answer. */
  owner = 0;
}
