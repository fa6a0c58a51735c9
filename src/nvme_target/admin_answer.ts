/** How an admin or Fabrics command of a target ends. */

import { StatusField } from "../protocol/nvme_status.ts";

export interface AdminAnswer {
  /** The 15-bit status field; 0 is success. */
  status: number;
  /** Dword 0 of the CQE. */
  dw0: number;
  /** Dword 1 of the CQE. */
  dw1: number;
  /** Data for the host, as many bytes as the command asked for; null if there is none. */
  data: Uint8Array<ArrayBuffer> | null;
}

/** Success, with what the completion carries. */
export function success(dw0 = 0, dw1 = 0): AdminAnswer {
  return { status: 0, dw0: dw0 >>> 0, dw1: dw1 >>> 0, data: null };
}

/** Success with data. */
export function successWithData(data: Uint8Array<ArrayBuffer>, dw0 = 0): AdminAnswer {
  return { status: 0, dw0: dw0 >>> 0, dw1: 0, data };
}

/** A failure that would be the same on every controller and at any time. */
export function refusal(code: number, dw0 = 0): AdminAnswer {
  return { status: code | StatusField.DNR, dw0: dw0 >>> 0, dw1: 0, data: null };
}

/** A failure that may pass. */
export function failure(code: number, dw0 = 0): AdminAnswer {
  return { status: code, dw0: dw0 >>> 0, dw1: 0, data: null };
}
