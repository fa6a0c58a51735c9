/** What was agreed with a controller, in the words of the debug log. */
import { formatDuration, formatSize } from "../../base/units.ts";
import { anaStateOf } from "../../nvme_host/ana.ts";
import type { ConnectedController } from "../../nvme_host/bring_up.ts";
import type { Digests, TransferParameters } from "../../nvme_host/transfer.ts";

/** As in `controller 1 is up: 2 queues of depth 128, keep alive 5s, …`. */
export function controllerWords(controller: ConnectedController, digests: Digests): string {
  const { cntlid, queues, queueDepth, flowControl, keepAliveMs, inCapsuleBytes, limits } = controller;
  const { trafficBasedKeepAlive, quiesceMs } = controller.controller;
  const ana = controller.anaLog === null ? "no ANA" : `ANA ${anaStateOf(controller.anaLog, controller.namespace)}`;
  const keepAlive = `keep alive (KATO) ${formatDuration(keepAliveMs)}${trafficBasedKeepAlive ? ", by traffic" : ""}`;
  return [
    `controller ${cntlid} is up: ${queues} I/O queues of depth ${queueDepth}`,
    `flow control ${flowControl ? "on" : "off"}`,
    keepAlive,
    `command quiesce time (CQT) ${quiesceMs === 0 ? "not told" : formatDuration(quiesceMs)}`,
    ana,
    digestWords(digests),
    `largest transfer ${formatSize(limits.maxTransferBytes)}`,
    `in-capsule data ${formatSize(inCapsuleBytes)}`,
  ].join(", ");
}

/** As in `I/O queue 1 is up: depth 128, MAXH2CDATA 128 KiB, …`. */
export function queueWords(qid: number, queueDepth: number, transfer: TransferParameters): string {
  const { maxH2cDataBytes, dataAlignment, digests } = transfer;
  const most = `largest data PDU to the controller (MAXH2CDATA) ${formatSize(maxH2cDataBytes)}`;
  return `I/O queue ${qid} is up: depth ${queueDepth}, ${most}, data alignment ${dataAlignment}, ${
    digestWords(digests)
  }`;
}

function digestWords({ header, data }: Digests): string {
  const on = [...(header ? ["header"] : []), ...(data ? ["data"] : [])];
  return on.length === 0 ? "no digests" : `${on.join(" and ")} digest${on.length === 2 ? "s" : ""}`;
}
