/** The I/O commands of the NVM Command Set, written into a {@linkcode Submission} without allocating anything. */
import { clearWords } from "../base/bytes.ts";
import { Dsm, NvmOpcode, RwCdw12 } from "../protocol/nvme.ts";
import { DataDirection } from "./command_table.ts";
import type { Submission } from "./connection.ts";

/** Dwords of the SQE (NVMe Base 2.0, section 3.3.3.1). */
const Dword = { OPC: 0, NSID: 1, CDW10: 10, CDW11: 11, CDW12: 12 } as const;

function begin(submission: Submission, opcode: number, nsid: number): Uint32Array {
  const sqe = submission.sqe;
  clearWords(sqe, 0, sqe.length);
  sqe[Dword.OPC] = opcode;
  sqe[Dword.NSID] = nsid;
  submission.direction = DataDirection.NONE;
  submission.dataOffset = 0;
  submission.dataBytes = 0;
  return sqe;
}

/** The logical blocks that a command is about: `blocks` of them, at most 65536, from the two halves of an LBA on. */
export interface BlockRange {
  lbaLow: number;
  lbaHigh: number;
  blocks: number;
}

function setRange(sqe: Uint32Array, range: BlockRange, control: number): void {
  sqe[Dword.CDW10] = range.lbaLow;
  sqe[Dword.CDW11] = range.lbaHigh;
  sqe[Dword.CDW12] = (range.blocks - 1) | control;
}

/** Read (NVM Command Set 1.0, section 3.2.4). The caller sets the data. */
export function encodeRead(submission: Submission, nsid: number, range: BlockRange): void {
  setRange(begin(submission, NvmOpcode.READ, nsid), range, 0);
  submission.direction = DataDirection.FROM_CONTROLLER;
}

/** Write (section 3.2.6), with `fua` only answered once the data is on stable storage. The caller sets the data. */
export function encodeWrite(submission: Submission, nsid: number, range: BlockRange, fua: boolean): void {
  setRange(begin(submission, NvmOpcode.WRITE, nsid), range, fua ? RwCdw12.FUA : 0);
  submission.direction = DataDirection.TO_CONTROLLER;
}

/** Flush (NVMe Base 2.0, section 7.1). */
export function encodeFlush(submission: Submission, nsid: number): void {
  begin(submission, NvmOpcode.FLUSH, nsid);
}

/** Write Zeroes (NVM Command Set 1.0, section 3.2.8); with `deallocate` the controller may unmap the blocks. */
export function encodeWriteZeroes(
  submission: Submission,
  nsid: number,
  range: BlockRange,
  options: { deallocate: boolean; fua: boolean },
): void {
  const control = (options.deallocate ? RwCdw12.DEAC : 0) | (options.fua ? RwCdw12.FUA : 0);
  setRange(begin(submission, NvmOpcode.WRITE_ZEROES, nsid), range, control);
}

/**
 * Dataset Management, deallocate, of one range (section 3.2.3). The caller writes the range with
 * {@linkcode writeDeallocateRange} and sets the data.
 */
export function encodeDeallocate(submission: Submission, nsid: number): void {
  const sqe = begin(submission, NvmOpcode.DATASET_MANAGEMENT, nsid);
  sqe[Dword.CDW10] = 0;
  sqe[Dword.CDW11] = Dsm.AD;
  submission.direction = DataDirection.TO_CONTROLLER;
}

/** The 16 bytes of a range: context attributes, length in logical blocks, start LBA. `words` is the arena as dwords. */
export function writeDeallocateRange(words: Uint32Array, offset: number, range: BlockRange): void {
  const at = offset >> 2;
  words[at] = 0;
  words[at + 1] = range.blocks;
  words[at + 2] = range.lbaLow;
  words[at + 3] = range.lbaHigh;
}
