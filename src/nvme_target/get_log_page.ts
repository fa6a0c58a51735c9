/** Answers Get Log Page (Base 2.0, section 5.16): picks the log, cuts out the part that was asked for. */

import { LogId } from "../protocol/nvme.ts";
import { ANA_LSP_RGO, GetLogPageCdw10, GetLogPageCdw11, GetLogPageCdw14 } from "../protocol/nvme_log.ts";
import { CommandSet } from "../protocol/nvme_identify.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import { type AdminAnswer, refusal, successWithData } from "./admin_answer.ts";
import type { AdminCommand } from "./admin_command.ts";

/** What a log page is asked for with. */
export interface LogRequest {
  logId: number;
  /** Log specific field. */
  lsp: number;
  /** Reading it does not clear its event. */
  retainsEvent: boolean;
  bytes: number;
  offset: number;
}

/** Where the logs come from. */
export interface LogSource {
  /** Largest transfer, bytes. */
  readonly transferBytesMax: number;
  /** The whole page; null if there is no such log. */
  page(request: LogRequest): Uint8Array<ArrayBuffer> | null;
  /** It was read without RAE. */
  handleRead(request: LogRequest): void;
}

/** Answers the command. What is asked for beyond the end of the log is zeroes. */
export function getLogPage(command: AdminCommand, source: LogSource): AdminAnswer {
  const request = parse(command);
  if (command.sglBytes !== request.bytes) return refusal(StatusCode.DATA_SGL_LENGTH_INVALID);
  if (request.bytes > source.transferBytesMax) return refusal(StatusCode.INVALID_FIELD);
  const csi = command.cdw14 >>> GetLogPageCdw14.CSI_SHIFT;
  if (request.logId === LogId.COMMANDS_SUPPORTED && csi !== CommandSet.NVM) return refusal(StatusCode.INVALID_FIELD);
  const page = source.page(request);
  if (page === null) return refusal(StatusCode.INVALID_LOG_PAGE);
  const isIndex = (command.cdw14 & GetLogPageCdw14.OT) !== 0;
  if (isIndex || request.offset % 4 !== 0 || request.offset > page.length) return refusal(StatusCode.INVALID_FIELD);
  const data = new Uint8Array(request.bytes);
  data.set(page.subarray(request.offset, request.offset + request.bytes));
  if (!request.retainsEvent) source.handleRead(request);
  return successWithData(data);
}

function parse({ cdw10, cdw11, cdw12, cdw13 }: AdminCommand): LogRequest {
  const numdl = cdw10 >>> GetLogPageCdw10.NUMDL_SHIFT;
  const numdu = cdw11 & GetLogPageCdw11.NUMDU_MASK;
  return {
    logId: cdw10 & 0xff,
    lsp: (cdw10 >>> GetLogPageCdw10.LSP_SHIFT) & GetLogPageCdw10.LSP_MASK,
    retainsEvent: (cdw10 & GetLogPageCdw10.RAE) !== 0,
    bytes: (numdu * 2 ** 16 + numdl + 1) * 4,
    offset: cdw13 * 2 ** 32 + cdw12,
  };
}

/** The ANA log without its NSIDs was asked for. */
export function wantsGroupsOnly({ lsp }: LogRequest): boolean {
  return (lsp & ANA_LSP_RGO) !== 0;
}
