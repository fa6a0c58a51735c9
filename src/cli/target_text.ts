/** Targets as text for people. */
import { alignRows, count, oneLine } from "../base/text.ts";
import { formatSize } from "../base/units.ts";
import type { ControllerInfo, FaultsInfo, NamespaceInfo, TargetApi, TargetInfo } from "../rpc/target_api.ts";

/** `127.0.0.1:4420` or `[::1]:4420`. */
export function listenerWords({ traddr, trsvcid }: { traddr: string; trsvcid: number }): string {
  return traddr.includes(":") ? `[${traddr}]:${trsvcid}` : `${traddr}:${trsvcid}`;
}

/** One aligned line for each target: NQN, process, namespaces, listeners, controllers. */
export function targetLines(targets: readonly TargetInfo[]): string[] {
  return alignRows(targets.map((target) => [
    oneLine(target.nqn),
    `process ${target.pid}`,
    count(target.namespaces.length, "namespace"),
    target.listeners.map(listenerWords).join(" ") || "no listener",
    count(target.controllers.length, "controller"),
  ]));
}

/** Everything about one target: itself, its namespaces, listeners and controllers. */
export function targetDetails(target: TargetInfo): string[] {
  const { nqn, serial, pid, version, workers, namespaces, listeners, controllers } = target;
  return [
    oneLine(nqn),
    ...indent(alignRows([
      ["process", `${pid}, umpath ${version}, ${count(workers, "data-plane thread")}`],
      ["serial", oneLine(serial)],
    ])),
    "  namespaces",
    ...indent(alignRows(namespaces.map(namespaceRow)), 4),
    "  listeners",
    ...indent(
      alignRows(listeners.map((one) => [listenerWords(one), one.ana, count(one.controllers, "controller")])),
      4,
    ),
    ...(controllers.length === 0 ? ["  no controllers"] : ["  controllers"]),
    ...indent(controllers.flatMap(controllerLines), 4),
  ];
}

/** What a change of size has come to. */
export function resizedWords({ sizeBytes, wasBytes, storage }: TargetApi["resize"]["result"]): string {
  const words = `resized to ${formatSize(sizeBytes)}`;
  if (sizeBytes === wasBytes) return words;
  if (storage === "block-device") return `${words} for hosts; the block device keeps its own size`;
  return sizeBytes < wasBytes ? `${words}; its last ${formatSize(wasBytes - sizeBytes)} are lost` : words;
}

/** One aligned line a fault, and their seed. */
export function faultLines({ seed, faults }: FaultsInfo): string[] {
  return [...alignRows(faults.map(({ words, hits }) => [words, count(hits, "hit")])), `seed ${seed}`];
}

function namespaceRow(namespace: NamespaceInfo): string[] {
  const { nsid, sizeBytes, blockSize, uuid, file, direct, readOnly } = namespace;
  const store = file === null ? "memory" : `${oneLine(file)}${direct ? "" : " (page cache)"}`;
  return [
    `${nsid}`,
    formatSize(sizeBytes),
    `blocks of ${formatSize(blockSize)}`,
    uuid,
    readOnly ? `${store}, read-only` : store,
  ];
}

function controllerLines(controller: ControllerInfo): string[] {
  const { cntlid, kind, hostNqn, peer, listener, queues, reads, writes, readBytes, writeBytes, errors } = controller;
  const what = kind === "discovery" ? "discovery" : count(queues, "I/O queue");
  const done = [
    `${count(reads, "read")} (${formatSize(readBytes)})`,
    `${count(writes, "write")} (${formatSize(writeBytes)})`,
    count(errors, "error answer"),
  ];
  return [
    `${cntlid}  ${oneLine(hostNqn) || "(no host NQN)"}`,
    `     ${peer} at ${listener}, ${what}`,
    ...(kind === "discovery" ? [] : [`     ${done.join(", ")}`]),
  ];
}

function indent(lines: readonly string[], width = 2): string[] {
  return lines.map((line) => " ".repeat(width) + line);
}
