import { SglAt, SglIdentifier, SQE_BYTES, SQE_FLAGS_PSDT_SGL, SqeAt } from "../protocol/nvme.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import { type CommandSlots, TransferDirection } from "./command_slots.ts";

/** Dwords of a submission queue entry. */
export const SQE_DWORDS = SQE_BYTES / 4;

const ADDRESS_DWORD = SqeAt.SGL1 / 4;
const LENGTH_DWORD = (SqeAt.SGL1 + SglAt.LENGTH) / 4;
const IDENTIFIER_DWORD = (SqeAt.SGL1 + SglAt.IDENTIFIER) >> 2;
const IDENTIFIER_SHIFT = ((SqeAt.SGL1 + SglAt.IDENTIFIER) & 3) * 8;
/** PSDT in the flags byte. */
const PSDT_MASK = 0xc0;
/** A command that is wrong stays wrong. */
const DNR = StatusField.DNR;

/**
 * What is wrong with the data pointer of the command in `slot` (NVMe Base 2.0, section 4.1.2): the status to answer
 * with, or 0. A descriptor with a length needs a command that moves data; data of a read never is in a capsule.
 */
export function judgeDataPointer(
  commands: CommandSlots,
  slot: number,
  limits: { readonly inCapsuleBytes: number; readonly slotBytes: number },
): number {
  const { sqe, direction } = commands;
  const entry = slot * SQE_DWORDS;
  if (((sqe[entry] >>> 8) & PSDT_MASK) !== SQE_FLAGS_PSDT_SGL) return StatusCode.INVALID_FIELD | DNR;
  const identifier = (sqe[entry + IDENTIFIER_DWORD] >>> IDENTIFIER_SHIFT) & 0xff;
  const length = sqe[entry + LENGTH_DWORD];
  const inCapsule = identifier === SglIdentifier.DATA_BLOCK_OFFSET;
  const hasAddress = (sqe[entry + ADDRESS_DWORD] | sqe[entry + ADDRESS_DWORD + 1]) !== 0;
  if (inCapsule && hasAddress) return StatusCode.SGL_OFFSET_INVALID | DNR;
  if (!inCapsule && identifier !== SglIdentifier.TRANSPORT_DATA_BLOCK) {
    const isNull = identifier === SglIdentifier.DATA_BLOCK_ADDRESS && length === 0;
    return isNull ? 0 : StatusCode.SGL_DESCRIPTOR_TYPE_INVALID | DNR;
  }
  if (length === 0) return 0;
  if (direction[slot] === TransferDirection.NONE) return StatusCode.DATA_SGL_LENGTH_INVALID | DNR;
  if (inCapsule && direction[slot] === TransferDirection.FROM_CONTROLLER) {
    return StatusCode.SGL_DESCRIPTOR_TYPE_INVALID | DNR;
  }
  if (inCapsule && length > limits.inCapsuleBytes) return StatusCode.DATA_SGL_LENGTH_INVALID | DNR;
  // A slot's buffer holds what MDTS allows.
  return length > limits.slotBytes ? StatusCode.INVALID_FIELD | DNR : 0;
}
