/**
 * What a status means for the one who waits for the command: words, an errno, and whether to try again. A status is the
 * 15-bit field: SC, SCT, CRD, More, Do Not Retry (Base 2.0, section 3.3.3.2.1).
 */

import { EBADE, EILSEQ, EIO, ENODATA, ENOLINK, ENOSPC, EOPNOTSUPP, EREMOTEIO, EROFS } from "../base/errno.ts";
import { ConnectAt, ConnectDataAt, ConnectInvalidDw0 } from "../protocol/nvme_fabrics.ts";
import { StatusCode as Code, StatusCodeType, StatusField } from "../protocol/nvme_status.ts";

/**
 * What to do with a command that got a status:
 * - "done": it succeeded;
 * - "failover": this path cannot serve it, another may;
 * - "retry": it may succeed later on any path, this one too;
 * - "fail": it fails for a reason of its own everywhere.
 */
export type Disposition = "done" | "failover" | "retry" | "fail";

/** A status code, its words, the errno and, if the controller does not forbid a retry, what to do. */
type Row = readonly [code: number, words: string, errno: number, disposition: Disposition];

/**
 * The errnos are those that an application gets from the Linux NVMe host for the same status: through the block layer's
 * status, so that ENODATA is a medium error, EREMOTEIO a target error, EILSEQ a protection error, EBADE a reservation
 * conflict, ENOLINK a transport error and EOPNOTSUPP what the device does not do. All but EROFS survive the way through
 * the ublk driver, which has no such status and makes it EIO, as the Linux host does.
 *
 * Linux retries whatever comes without Do Not Retry a few times. Here only what can change by itself is retried: targets
 * forget the bit, and a medium error that is retried costs seconds.
 */
const ROWS: readonly Row[] = [
  [Code.SUCCESS, "success", 0, "done"],
  [Code.INVALID_OPCODE, "invalid command opcode", EOPNOTSUPP, "fail"],
  [Code.INVALID_FIELD, "invalid field in command", EOPNOTSUPP, "fail"],
  [Code.COMMAND_ID_CONFLICT, "command ID conflict", EIO, "retry"],
  [Code.DATA_TRANSFER_ERROR, "data transfer error", EIO, "retry"],
  [Code.ABORTED_POWER_LOSS, "aborted due to power loss notification", EIO, "failover"],
  [Code.INTERNAL_ERROR, "internal error", EIO, "retry"],
  [Code.ABORT_REQUESTED, "abort requested", EIO, "retry"],
  [Code.ABORTED_SQ_DELETION, "aborted due to submission queue deletion", EIO, "failover"],
  [Code.ABORTED_FAILED_FUSED, "aborted due to failed fused command", EIO, "fail"],
  [Code.ABORTED_MISSING_FUSED, "aborted due to missing fused command", EIO, "fail"],
  [Code.INVALID_NAMESPACE_OR_FORMAT, "invalid namespace or format", EOPNOTSUPP, "fail"],
  [Code.COMMAND_SEQUENCE_ERROR, "command sequence error", EIO, "fail"],
  [Code.INVALID_SGL_SEGMENT_DESCRIPTOR, "invalid SGL segment descriptor", EIO, "fail"],
  [Code.INVALID_SGL_DESCRIPTOR_COUNT, "invalid number of SGL descriptors", EIO, "fail"],
  [Code.DATA_SGL_LENGTH_INVALID, "data SGL length invalid", EIO, "fail"],
  [Code.METADATA_SGL_LENGTH_INVALID, "metadata SGL length invalid", EIO, "fail"],
  [Code.SGL_DESCRIPTOR_TYPE_INVALID, "SGL descriptor type invalid", EIO, "fail"],
  [Code.ATOMIC_WRITE_UNIT_EXCEEDED, "atomic write unit exceeded", EIO, "fail"],
  [Code.OPERATION_DENIED, "operation denied", EIO, "fail"],
  [Code.SGL_OFFSET_INVALID, "SGL offset invalid", EIO, "fail"],
  [Code.HOST_IDENTIFIER_INCONSISTENT_FORMAT, "host identifier inconsistent format", EIO, "fail"],
  [Code.KEEP_ALIVE_TIMER_EXPIRED, "keep alive timer expired", EIO, "failover"],
  [Code.KEEP_ALIVE_TIMEOUT_INVALID, "keep alive timeout invalid", EIO, "fail"],
  [Code.ABORTED_PREEMPT_AND_ABORT, "aborted due to preempt and abort", EBADE, "fail"],
  [Code.SANITIZE_FAILED, "sanitize failed", EIO, "fail"],
  [Code.SANITIZE_IN_PROGRESS, "sanitize in progress", EIO, "fail"],
  [Code.SGL_DATA_BLOCK_GRANULARITY_INVALID, "SGL data block granularity invalid", EIO, "fail"],
  [Code.NAMESPACE_WRITE_PROTECTED, "namespace is write protected", EROFS, "fail"],
  [Code.COMMAND_INTERRUPTED, "command interrupted", EREMOTEIO, "retry"],
  [Code.TRANSIENT_TRANSPORT_ERROR, "transient transport error", ENOLINK, "failover"],
  [Code.COMMAND_PROHIBITED_BY_LOCKDOWN, "command prohibited by lockdown", EIO, "fail"],
  [Code.ADMIN_COMMAND_MEDIA_NOT_READY, "admin command media not ready", EIO, "retry"],
  [Code.LBA_OUT_OF_RANGE, "LBA out of range", EREMOTEIO, "fail"],
  [Code.CAPACITY_EXCEEDED, "capacity exceeded", ENOSPC, "fail"],
  [Code.NAMESPACE_NOT_READY, "namespace not ready", EREMOTEIO, "retry"],
  [Code.RESERVATION_CONFLICT, "reservation conflict", EBADE, "fail"],
  [Code.FORMAT_IN_PROGRESS, "format in progress", EIO, "fail"],

  [Code.INVALID_QUEUE_IDENTIFIER, "invalid queue identifier", EIO, "fail"],
  [Code.INVALID_QUEUE_SIZE, "invalid queue size", EIO, "fail"],
  [Code.ABORT_LIMIT_EXCEEDED, "abort command limit exceeded", EIO, "retry"],
  [Code.ASYNC_EVENT_LIMIT_EXCEEDED, "asynchronous event request limit exceeded", EIO, "fail"],
  [Code.INVALID_LOG_PAGE, "invalid log page", EIO, "fail"],
  [Code.FEATURE_NOT_SAVEABLE, "feature identifier not saveable", EIO, "fail"],
  [Code.FEATURE_NOT_CHANGEABLE, "feature not changeable", EIO, "fail"],
  [Code.ANA_GROUP_INVALID, "ANA group identifier invalid", EIO, "fail"],
  [Code.COMMAND_SET_NOT_SUPPORTED, "I/O command set not supported", EIO, "fail"],
  [Code.COMMAND_SET_NOT_ENABLED, "I/O command set not enabled", EIO, "fail"],
  [Code.CONFLICTING_ATTRIBUTES, "conflicting attributes", EOPNOTSUPP, "fail"],
  [Code.INVALID_PROTECTION_INFORMATION, "invalid protection information", EILSEQ, "fail"],
  [Code.WRITE_TO_READ_ONLY_RANGE, "attempted write to read only range", ENODATA, "fail"],
  [Code.COMMAND_SIZE_LIMIT_EXCEEDED, "command size limit exceeded", EIO, "fail"],
  [Code.AUTHENTICATION_REQUIRED, "authentication required", EIO, "failover"],

  [Code.WRITE_FAULT, "write fault", ENODATA, "fail"],
  [Code.UNRECOVERED_READ_ERROR, "unrecovered read error", ENODATA, "fail"],
  [Code.GUARD_CHECK_ERROR, "end-to-end guard check error", EILSEQ, "fail"],
  [Code.APPLICATION_TAG_CHECK_ERROR, "end-to-end application tag check error", EILSEQ, "fail"],
  [Code.REFERENCE_TAG_CHECK_ERROR, "end-to-end reference tag check error", EILSEQ, "fail"],
  [Code.COMPARE_FAILURE, "compare failure", ENODATA, "fail"],
  [Code.ACCESS_DENIED, "access denied", ENODATA, "fail"],
  [Code.DEALLOCATED_OR_UNWRITTEN_BLOCK, "deallocated or unwritten logical block", ENODATA, "fail"],
  [Code.STORAGE_TAG_CHECK_ERROR, "end-to-end storage tag check error", EILSEQ, "fail"],

  [Code.INTERNAL_PATH_ERROR, "internal path error", EIO, "failover"],
  [Code.ANA_PERSISTENT_LOSS, "asymmetric access persistent loss", EIO, "failover"],
  [Code.ANA_INACCESSIBLE, "asymmetric access inaccessible", EIO, "failover"],
  [Code.ANA_TRANSITION, "asymmetric access transition", EIO, "failover"],
  [Code.CONTROLLER_PATHING_ERROR, "controller pathing error", EIO, "failover"],
  [Code.HOST_PATHING_ERROR, "host pathing error", ENOLINK, "failover"],
  [Code.ABORTED_BY_HOST, "command aborted by host", EIO, "failover"],
];

const ROW_BY_CODE: ReadonlyMap<number, Row> = new Map(ROWS.map((row) => [row[0], row]));

const TYPE_WORDS: Record<number, string> = {
  [StatusCodeType.GENERIC]: "generic",
  [StatusCodeType.COMMAND_SPECIFIC]: "command specific",
  [StatusCodeType.MEDIA]: "media",
  [StatusCodeType.PATH]: "path",
  [StatusCodeType.VENDOR]: "vendor specific",
};

/** A status in words: "LBA out of range". One that has no words is told by its number, which is all there is. */
export function statusWords(status: number): string {
  const code = status & StatusField.CODE_MASK;
  const type = code >> StatusField.SCT_SHIFT;
  const known = ROW_BY_CODE.get(code)?.[1];
  return known ?? `unknown ${TYPE_WORDS[type] ?? `type ${type}`} error (${numberWords(code)})`;
}

/** A status in numbers, for whoever looks it up: "status 0x80, do not retry". */
export function statusNumberWords(status: number): string {
  const code = status & StatusField.CODE_MASK;
  return `${numberWords(code)}${mayRetry(status) || code === 0 ? "" : ", do not retry"}`;
}

function numberWords(code: number): string {
  return `status 0x${code.toString(16).padStart(2, "0")}`;
}

/** The Linux errno of an I/O command's status; 0 for success. */
export function statusErrno(status: number): number {
  return ROW_BY_CODE.get(status & StatusField.CODE_MASK)?.[2] ?? EIO;
}

/**
 * What to do with an I/O command that got `status`. Do Not Retry ends every thought of another path: it speaks for all
 * controllers of the subsystem. A status that is not known is retried if the controller allows it.
 */
export function statusDisposition(status: number): Disposition {
  const code = status & StatusField.CODE_MASK;
  if (code === Code.SUCCESS) return "done";
  if (!mayRetry(status)) return "fail";
  const known = ROW_BY_CODE.get(code)?.[3];
  if (known !== undefined) return known;
  const type = code >> StatusField.SCT_SHIFT;
  if (type === StatusCodeType.PATH) return "failover";
  return type === StatusCodeType.MEDIA ? "fail" : "retry";
}

/** True if the controller does not forbid a retry (DNR is clear). */
export function mayRetry(status: number): boolean {
  return (status & StatusField.DNR) === 0;
}

/**
 * True if a controller that refuses an admin command with `status` would do so again: it does not have the command, or
 * not for this host. Do Not Retry alone does not say so of what passes by itself: targets set it on failures of a moment.
 */
export function isLastingRefusal(status: number): boolean {
  const code = status & StatusField.CODE_MASK;
  return statusDisposition(ROW_BY_CODE.has(code) ? code : status) === "fail";
}

/** CRD: which of `ControllerIdentity.retryDelaysMs` to wait for before a retry; 0 is none. */
export function retryDelayIndex(status: number): number {
  return mayRetry(status) ? (status >> StatusField.CRD_SHIFT) & StatusField.CRD_MASK : 0;
}

/** Why a Connect did not succeed. */
export interface ConnectRefusal {
  /** "refused": the target does not want us; "unreachable": it cannot serve us now. */
  kind: "refused" | "unreachable";
  words: string;
  /** False if another attempt would fail too: the controller says so, or it needs what we cannot give. */
  retryable: boolean;
  /** What of the Connect is refused, where a host can do something about it. */
  about: ConnectSubject | null;
}

/** "names": which host asks for which subsystem. */
export type ConnectSubject = "names" | "attributes" | "keep-alive" | "authentication" | "controllers";

const CONNECT_WORDS: Record<number, string> = {
  [Code.CONNECT_INCOMPATIBLE_FORMAT]: "the target does not know this format of Connect",
  [Code.CONNECT_CONTROLLER_BUSY]: "the controller is busy, or the target has as many controllers as it allows",
  [Code.CONNECT_INVALID_PARAMETERS]: "the target refuses a parameter of Connect",
  [Code.CONNECT_RESTART_DISCOVERY]: "the target asks for a new discovery: the subsystem has moved",
  [Code.CONNECT_INVALID_HOST]: "this host is not allowed on the subsystem",
  [Code.FABRICS_INVALID_QUEUE_TYPE]: "the target refuses the queue type",
  [Code.AUTHENTICATION_REQUIRED]: "the target requires authentication, which is not configured",
  [Code.KEEP_ALIVE_TIMEOUT_INVALID]: "the target refuses the keep alive timeout",
};

const CONNECT_COMMAND_FIELDS: Record<number, string> = {
  [ConnectAt.RECFMT]: "the record format",
  [ConnectAt.QID]: "the queue identifier",
  [ConnectAt.SQSIZE]: "the queue size",
  [ConnectAt.CATTR]: "the connect attributes",
  [ConnectAt.KATO]: "the keep alive timeout",
};

const CONNECT_DATA_FIELDS: Record<number, string> = {
  [ConnectDataAt.HOSTID]: "the host identifier",
  [ConnectDataAt.CNTLID]: "the controller ID",
  [ConnectDataAt.SUBNQN]: "the subsystem NQN",
  [ConnectDataAt.HOSTNQN]: "the host NQN",
};

function connectSubject(code: number, result0: number): ConnectSubject | null {
  if (code === Code.CONNECT_INVALID_HOST) return "names";
  if (code === Code.AUTHENTICATION_REQUIRED) return "authentication";
  if (code === Code.KEEP_ALIVE_TIMEOUT_INVALID) return "keep-alive";
  if (code === Code.CONNECT_CONTROLLER_BUSY) return "controllers";
  if (code !== Code.CONNECT_INVALID_PARAMETERS) return null;
  const offset = result0 & ConnectInvalidDw0.IPO_MASK;
  if ((result0 & ConnectInvalidDw0.IATTR_DATA) !== 0) return offset === ConnectDataAt.CNTLID ? null : "names";
  return offset === ConnectAt.CATTR ? "attributes" : offset === ConnectAt.KATO ? "keep-alive" : null;
}

/** Explains the status of a Connect that failed; `result0` is dword 0 of its completion (Base 2.0, section 6.3). */
export function connectRefusal(status: number, result0: number): ConnectRefusal {
  const code = status & StatusField.CODE_MASK;
  const busy = code === Code.CONNECT_CONTROLLER_BUSY;
  const known = code === Code.CONNECT_INVALID_PARAMETERS ? badParameterWords(result0) : CONNECT_WORDS[code];
  if (known === undefined) {
    const kind = statusDisposition(status) === "fail" ? "refused" : "unreachable";
    const words = `the target refuses Connect: ${statusWords(status)}`;
    return { kind, words, retryable: mayRetry(status), about: connectSubject(code, result0) };
  }
  return {
    kind: busy ? "unreachable" : "refused",
    words: known,
    // Busy passes, though nvmet and others forbid to repeat the very same command.
    retryable: busy || (mayRetry(status) && code !== Code.AUTHENTICATION_REQUIRED),
    about: connectSubject(code, result0),
  };
}

function badParameterWords(result0: number): string {
  const offset = result0 & ConnectInvalidDw0.IPO_MASK;
  const inData = (result0 & ConnectInvalidDw0.IATTR_DATA) !== 0;
  if (inData && offset === ConnectDataAt.SUBNQN) return "the target has no such subsystem on this port";
  const field = (inData ? CONNECT_DATA_FIELDS : CONNECT_COMMAND_FIELDS)[offset];
  return `the target refuses ${field ?? `byte ${offset} of the ${inData ? "connect data" : "connect command"}`}`;
}
