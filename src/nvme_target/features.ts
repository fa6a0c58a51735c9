/**
 * Features of one controller (Base 2.0, sections 5.15 and 5.27): what the host has set, until the controller is reset.
 * None can be saved. What is kept by another machine (events, keep alive) is only read and written through here.
 */

import { FeatureCapability, FeatureCdw10, FeatureId, FeatureSelect } from "../protocol/nvme.ts";
import { HOST_BEHAVIOR_BYTES, HOST_IDENTIFIER_EXHID, HostBehaviorAt, NSID_ALL } from "../protocol/nvme.ts";
import { FeatureEffect, SUPPORTED_TABLE_BYTES } from "../protocol/nvme_log.ts";
import { StatusCode } from "../protocol/nvme_status.ts";
import { type AdminAnswer, refusal, success, successWithData } from "./admin_answer.ts";
import type { AdminCommand } from "./admin_command.ts";
import { ByteFields } from "./byte_fields.ts";

/** What features reach into. */
export interface FeaturesHost {
  readonly isDiscovery: boolean;
  /** 16 bytes. */
  readonly hostId: Uint8Array;
  /** I/O queues that the controller can have. */
  readonly ioQueuesMax: number;
  readonly hasIoQueues: boolean;
  readonly hasVolatileCache: boolean;
  /** Bits of `AsyncEventConfig` that the controller offers. */
  readonly eventsOffered: number;
  eventConfig: number;
  /** KATO in milliseconds. */
  readonly katoMs: number;
  setKato(katoMs: number, nowMs: number): void;
  isActiveNamespace(nsid: number): boolean;
}

/** Arbitration: AB, a burst without limit. */
const ARBITRATION_DEFAULT = 0x07;
/** Temperature threshold: the sensor in bits 19:16, which threshold in 21:20. */
const TEMPERATURE_SELECT_SHIFT = 16;
const TEMPERATURE_OVER_DEFAULT = 0xffff;
/** Asynchronous Event Configuration: critical warnings of the SMART log, which can always be asked for. */
const SMART_WARNINGS_MASK = 0xff;
const QUEUES_MASK = 0xffff;

interface Row {
  /** Whether Set Features takes it at all. */
  changeable: boolean;
  namespaceSpecific?: boolean;
  discovery?: boolean;
  default: number;
}

const ROWS: Readonly<Record<number, Row>> = Object.freeze({
  [FeatureId.ARBITRATION]: { changeable: true, default: ARBITRATION_DEFAULT },
  [FeatureId.POWER_MANAGEMENT]: { changeable: true, default: 0 },
  [FeatureId.TEMPERATURE_THRESHOLD]: { changeable: true, default: TEMPERATURE_OVER_DEFAULT },
  [FeatureId.ERROR_RECOVERY]: { changeable: true, namespaceSpecific: true, default: 0 },
  [FeatureId.VOLATILE_WRITE_CACHE]: { changeable: false, default: 1 },
  [FeatureId.NUMBER_OF_QUEUES]: { changeable: true, default: 0 },
  [FeatureId.WRITE_ATOMICITY_NORMAL]: { changeable: true, default: 0 },
  [FeatureId.ASYNC_EVENT_CONFIGURATION]: { changeable: true, discovery: true, default: 0 },
  [FeatureId.KEEP_ALIVE_TIMER]: { changeable: true, discovery: true, default: 0 },
  [FeatureId.HOST_BEHAVIOR_SUPPORT]: { changeable: true, default: 0 },
  [FeatureId.COMMAND_SET_PROFILE]: { changeable: true, default: 0 },
  [FeatureId.HOST_IDENTIFIER]: { changeable: false, default: 0 },
});

export class Features {
  readonly #host: FeaturesHost;
  /** What Set Features stored by feature, and by threshold or namespace where there is one for each. */
  readonly #stored = new Map<string, number>();
  #grantedQueues: number;
  #hostBehavior = new Uint8Array(HOST_BEHAVIOR_BYTES);

  constructor(host: FeaturesHost) {
    this.#host = host;
    this.#grantedQueues = host.ioQueuesMax;
  }

  /** I/O queues that may be connected. */
  get grantedQueues(): number {
    return this.#grantedQueues;
  }

  /** The controller is reset. */
  reset(): void {
    this.#stored.clear();
    this.#grantedQueues = this.#host.ioQueuesMax;
    this.#hostBehavior = new Uint8Array(HOST_BEHAVIOR_BYTES);
  }

  /** Bytes of data that this Set Features carries. */
  dataNeeded(command: AdminCommand): number {
    return (command.cdw10 & FeatureCdw10.FID_MASK) === FeatureId.HOST_BEHAVIOR_SUPPORT && !this.#host.isDiscovery
      ? HOST_BEHAVIOR_BYTES
      : 0;
  }

  /** Get Features. */
  get(command: AdminCommand): AdminAnswer {
    const fid = command.cdw10 & FeatureCdw10.FID_MASK;
    const row = this.#row(fid);
    if (row === null) return refusal(StatusCode.INVALID_FIELD);
    const select = (command.cdw10 >>> FeatureCdw10.SEL_SHIFT) & FeatureCdw10.SEL_MASK;
    if (select > FeatureSelect.SUPPORTED_CAPABILITIES) return refusal(StatusCode.INVALID_FIELD);
    if (select === FeatureSelect.SUPPORTED_CAPABILITIES) return success(capabilities(row));
    if (row.namespaceSpecific && !this.#host.isActiveNamespace(command.nsid)) {
      return refusal(StatusCode.INVALID_NAMESPACE_OR_FORMAT);
    }
    if (fid === FeatureId.HOST_IDENTIFIER) return this.#hostIdentifier(command);
    if (fid === FeatureId.HOST_BEHAVIOR_SUPPORT) return this.#getHostBehavior(command, select);
    return success(select === FeatureSelect.CURRENT ? this.#current(fid, command) : this.#default(fid, row, command));
  }

  /** Set Features; `data` is what the host has sent with it. */
  set(command: AdminCommand, data: Uint8Array | null, nowMs: number): AdminAnswer {
    const fid = command.cdw10 & FeatureCdw10.FID_MASK;
    const row = this.#row(fid);
    if (row === null) return refusal(StatusCode.INVALID_FIELD);
    if ((command.cdw10 & FeatureCdw10.SAVE) !== 0) return refusal(StatusCode.FEATURE_NOT_SAVEABLE);
    if (row.namespaceSpecific && command.nsid !== NSID_ALL && !this.#host.isActiveNamespace(command.nsid)) {
      return refusal(StatusCode.INVALID_NAMESPACE_OR_FORMAT);
    }
    switch (fid) {
      case FeatureId.NUMBER_OF_QUEUES:
        return this.#setQueues(command.cdw11);
      case FeatureId.ASYNC_EVENT_CONFIGURATION:
        return this.#setEvents(command.cdw11);
      case FeatureId.KEEP_ALIVE_TIMER:
        this.#host.setKato(command.cdw11, nowMs);
        return success();
      case FeatureId.HOST_BEHAVIOR_SUPPORT:
        return this.#setHostBehavior(data);
      case FeatureId.HOST_IDENTIFIER:
        // Over fabrics, Connect says it (section 5.27.1.25).
        return refusal(StatusCode.COMMAND_SEQUENCE_ERROR);
      case FeatureId.VOLATILE_WRITE_CACHE:
        // Enabling what is enabled changes nothing; the cache cannot be turned off.
        return (command.cdw11 & 1) === 1 ? success() : refusal(StatusCode.FEATURE_NOT_CHANGEABLE);
      case FeatureId.COMMAND_SET_PROFILE:
        return (command.cdw11 & 0x1ff) === 0 ? success() : refusal(StatusCode.COMMAND_SET_COMBINATION_REJECTED);
      case FeatureId.POWER_MANAGEMENT:
        return (command.cdw11 & 0x1f) === 0 ? this.#store(fid, command) : refusal(StatusCode.INVALID_FIELD);
      default:
        return this.#store(fid, command);
    }
  }

  /** The Feature Identifiers Supported and Effects log. */
  get supportedPage(): Uint8Array<ArrayBuffer> {
    const fields = new ByteFields(SUPPORTED_TABLE_BYTES);
    for (const fid of Object.keys(ROWS).map(Number)) {
      const row = this.#row(fid);
      if (row === null) continue;
      const scope = row.namespaceSpecific ? FeatureEffect.SCOPE_NAMESPACE : FeatureEffect.SCOPE_CONTROLLER;
      fields.u32(4 * fid, FeatureEffect.SUPPORTED | scope);
    }
    return fields.bytes;
  }

  #row(fid: number): Row | null {
    const row = ROWS[fid];
    if (row === undefined || (this.#host.isDiscovery && !row.discovery)) return null;
    if (fid === FeatureId.VOLATILE_WRITE_CACHE && !this.#host.hasVolatileCache) return null;
    return row;
  }

  #current(fid: number, command: AdminCommand): number {
    switch (fid) {
      case FeatureId.NUMBER_OF_QUEUES:
        return zeroBasedTwice(this.#grantedQueues);
      case FeatureId.ASYNC_EVENT_CONFIGURATION:
        return this.#host.eventConfig;
      case FeatureId.KEEP_ALIVE_TIMER:
        return this.#host.katoMs;
      default:
        return this.#stored.get(storeKey(fid, command)) ??
          (ROWS[fid].namespaceSpecific ? this.#stored.get(`${fid}:${NSID_ALL}`) : undefined) ??
          this.#default(fid, ROWS[fid], command);
    }
  }

  #default(fid: number, row: Row, command: AdminCommand): number {
    if (fid === FeatureId.NUMBER_OF_QUEUES) return zeroBasedTwice(this.#host.ioQueuesMax);
    const isUnder = fid === FeatureId.TEMPERATURE_THRESHOLD && temperatureSelect(command.cdw11) >> 4 === 1;
    return isUnder ? 0 : row.default;
  }

  #store(fid: number, command: AdminCommand): AdminAnswer {
    const isForAll = ROWS[fid].namespaceSpecific && command.nsid === NSID_ALL;
    if (isForAll) {
      for (const key of [...this.#stored.keys()]) {
        if (key.startsWith(`${fid}:`)) this.#stored.delete(key);
      }
    }
    const value = fid === FeatureId.TEMPERATURE_THRESHOLD ? command.cdw11 & 0xffff : command.cdw11;
    this.#stored.set(storeKey(fid, command), value);
    return success();
  }

  /** As many queues of both kinds as the host wants and the controller has (section 5.27.1.5). */
  #setQueues(cdw11: number): AdminAnswer {
    if (this.#host.hasIoQueues) return refusal(StatusCode.COMMAND_SEQUENCE_ERROR);
    const submission = cdw11 & QUEUES_MASK, completion = cdw11 >>> 16;
    if (submission === QUEUES_MASK || completion === QUEUES_MASK) return refusal(StatusCode.INVALID_FIELD);
    // Over fabrics queues come in pairs.
    this.#grantedQueues = Math.min(submission + 1, completion + 1, this.#host.ioQueuesMax);
    return success(zeroBasedTwice(this.#grantedQueues));
  }

  #setEvents(cdw11: number): AdminAnswer {
    const known = (this.#host.eventsOffered | SMART_WARNINGS_MASK) >>> 0;
    if ((cdw11 & ~known) !== 0) return refusal(StatusCode.INVALID_FIELD);
    this.#host.eventConfig = cdw11;
    return success();
  }

  #setHostBehavior(data: Uint8Array | null): AdminAnswer {
    if (data === null || data.length < HOST_BEHAVIOR_BYTES) return refusal(StatusCode.DATA_SGL_LENGTH_INVALID);
    if (data[HostBehaviorAt.ACRE] > 1) return refusal(StatusCode.INVALID_FIELD);
    this.#hostBehavior = new Uint8Array(HOST_BEHAVIOR_BYTES);
    this.#hostBehavior[HostBehaviorAt.ACRE] = data[HostBehaviorAt.ACRE];
    return success();
  }

  #getHostBehavior(command: AdminCommand, select: number): AdminAnswer {
    if (command.sglBytes < HOST_BEHAVIOR_BYTES) return refusal(StatusCode.DATA_SGL_LENGTH_INVALID);
    const isCurrent = select === FeatureSelect.CURRENT;
    return successWithData(isCurrent ? this.#hostBehavior.slice() : new Uint8Array(HOST_BEHAVIOR_BYTES));
  }

  #hostIdentifier(command: AdminCommand): AdminAnswer {
    // Over fabrics identifiers have 16 bytes (section 5.27.1.25).
    if ((command.cdw11 & HOST_IDENTIFIER_EXHID) === 0) return refusal(StatusCode.INVALID_FIELD);
    if (command.sglBytes < this.#host.hostId.length) return refusal(StatusCode.DATA_SGL_LENGTH_INVALID);
    return successWithData(Uint8Array.from(this.#host.hostId));
  }
}

function capabilities(row: Row): number {
  return (row.changeable ? FeatureCapability.CHANGEABLE : 0) |
    (row.namespaceSpecific ? FeatureCapability.NAMESPACE_SPECIFIC : 0);
}

/** Where a value is stored: some features have one for each threshold or namespace. */
function storeKey(fid: number, command: AdminCommand): string {
  if (fid === FeatureId.TEMPERATURE_THRESHOLD) return `${fid}:${temperatureSelect(command.cdw11)}`;
  return ROWS[fid].namespaceSpecific ? `${fid}:${command.nsid}` : `${fid}:`;
}

function temperatureSelect(cdw11: number): number {
  return (cdw11 >>> TEMPERATURE_SELECT_SHIFT) & 0x3f;
}

function zeroBasedTwice(queues: number): number {
  return (((queues - 1) << 16) | (queues - 1)) >>> 0;
}
