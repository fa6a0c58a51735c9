import { EACCES, EDQUOT, EFBIG, EIO, ENODATA, ENOSPC, EOPNOTSUPP, EPERM, EROFS } from "../base/errno.ts";
import { AnaStateCode } from "../protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../protocol/nvme_status.ts";

/**
 * The status of a command that failed with `errno` in what is behind its namespace. Do Not Retry is set where another
 * try would fail the same way on every controller.
 */
export function errnoStatus(errno: number, isRead: boolean): number {
  switch (errno) {
    case 0:
      return StatusCode.SUCCESS;
    case EIO:
    case ENODATA:
      return isRead ? StatusCode.UNRECOVERED_READ_ERROR : StatusCode.WRITE_FAULT;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return StatusCode.CAPACITY_EXCEEDED | StatusField.DNR;
    case EROFS:
    case EPERM:
    case EACCES:
      return isRead ? StatusCode.INTERNAL_ERROR : StatusCode.NAMESPACE_WRITE_PROTECTED | StatusField.DNR;
    case EOPNOTSUPP:
      return StatusCode.INVALID_OPCODE | StatusField.DNR;
  }
  return StatusCode.INTERNAL_ERROR;
}

/** The status of an I/O command in an ANA state (section 8.1.3): success where I/O is allowed. Others may be tried. */
export function anaStatus(state: number): number {
  switch (state) {
    case AnaStateCode.OPTIMIZED:
    case AnaStateCode.NON_OPTIMIZED:
      return StatusCode.SUCCESS;
    case AnaStateCode.INACCESSIBLE:
      return StatusCode.ANA_INACCESSIBLE;
    case AnaStateCode.PERSISTENT_LOSS:
      return StatusCode.ANA_PERSISTENT_LOSS;
    case AnaStateCode.CHANGE:
      return StatusCode.ANA_TRANSITION;
  }
  return StatusCode.INTERNAL_PATH_ERROR;
}
