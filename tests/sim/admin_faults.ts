import type { Prng } from "../../src/base/prng.ts";
import { AdminOpcode, LogId, SQE_FLAGS_PSDT_SGL, SqeAt } from "../../src/protocol/nvme.ts";
import { IdentifyCns } from "../../src/protocol/nvme_identify.ts";
import { AnaGroupAt, AnaLogAt, AnaStateCode } from "../../src/protocol/nvme_log.ts";
import { StatusCode, StatusField } from "../../src/protocol/nvme_status.ts";
import { ANA_STATES, type Begin, drawSize, type FaultPlan, FAULTS } from "./faults.ts";
import type { Portal } from "./portal.ts";

/** Admin commands that can be made to fail, by opcode and the first byte of dword 10. */
const KINDS = {
  "active namespaces": [AdminOpcode.IDENTIFY, IdentifyCns.ACTIVE_NAMESPACE_LIST],
  "namespace": [AdminOpcode.IDENTIFY, IdentifyCns.NAMESPACE],
  "descriptors": [AdminOpcode.IDENTIFY, IdentifyCns.NAMESPACE_DESCRIPTORS],
  "ANA log": [AdminOpcode.GET_LOG_PAGE, LogId.ASYMMETRIC_NAMESPACE_ACCESS],
  "changed namespaces": [AdminOpcode.GET_LOG_PAGE, LogId.CHANGED_NAMESPACE_LIST],
} as const;

type Kind = keyof typeof KINDS;

const KIND_NAMES = Object.keys(KINDS) as Kind[];

/** Statuses of troubles that pass. */
const PASSING: readonly number[] = [
  StatusCode.INTERNAL_ERROR,
  StatusCode.ABORT_REQUESTED,
  StatusCode.NAMESPACE_NOT_READY,
  StatusCode.COMMAND_INTERRUPTED,
  StatusCode.TRANSIENT_TRANSPORT_ERROR,
];

/** Refusals that last, of what a controller need not support. */
const OPTIONAL: readonly Kind[] = ["descriptors", "changed namespaces"];
const LASTING = StatusCode.INVALID_FIELD | StatusField.DNR;

const EVENT_ERRORS: readonly number[] = [
  StatusCode.INTERNAL_ERROR,
  StatusCode.ABORT_REQUESTED,
  StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED | StatusField.DNR,
];

const UNKNOWN_ANA_STATE = 0x07;

/** What can be wrong with an ANA log: at first glance nothing, in the end no state of the namespace. */
const ANA_LOG_SPOILS: readonly ((log: DataView) => void)[] = [
  (log) => log.setUint8(AnaLogAt.DESCRIPTORS + AnaGroupAt.STATE, UNKNOWN_ANA_STATE),
  (log) => log.setUint32(AnaLogAt.DESCRIPTORS + AnaGroupAt.AGID, 0, true),
  (log) => log.setUint32(AnaLogAt.DESCRIPTORS + AnaGroupAt.NNV, 0xffffffff, true),
  (log) => log.setUint16(AnaLogAt.NAGD, 2, true),
  (log) => log.setUint16(AnaLogAt.NAGD, 0, true),
];

function kindOf(sqe: Uint32Array): Kind | null {
  const opcode = sqe[0] & 0xff, what = sqe[SqeAt.CDW10 / 4] & 0xff;
  return KIND_NAMES.find((kind) => KINDS[kind][0] === opcode && KINDS[kind][1] === what) ?? null;
}

/** The Abort of a command of the admin queue. */
export function abortEntry(cid: number): Uint32Array {
  const sqe = new Uint32Array(16);
  sqe[0] = AdminOpcode.ABORT | (SQE_FLAGS_PSDT_SGL << 8);
  sqe[SqeAt.CDW10 / 4] = cid << 16;
  return sqe;
}

/** What goes wrong on the admin queues of one portal. */
export class AdminFaults {
  /** Changes are not told to the host. */
  losesEvents = false;
  /** A change of the ANA state was not told, and none after it. */
  hasLostAna = false;
  /** What an event request ends with instead of an event; 0: nothing is wrong. */
  eventError = 0;
  /** Commands that fail, how often they still do, and with which status. */
  readonly #failing = new Map<Kind, { left: number; readonly status: number }>();
  #anaLogSpoils: ((log: DataView) => void)[] = [];

  fail(kind: Kind, { times, status }: { times: number; status: number }): void {
    this.#failing.set(kind, { left: times, status });
  }

  heal(kind: Kind): void {
    this.#failing.delete(kind);
  }

  /** The next ANA logs, each made wrong by one of these. */
  spoilAnaLogs(spoils: ((log: DataView) => void)[]): void {
    this.#anaLogSpoils = spoils;
  }

  /** The status to answer a command with instead of carrying it out; 0: it is carried out. */
  verdict(sqe: Uint32Array): number {
    if ((sqe[0] & 0xff) === AdminOpcode.ASYNC_EVENT_REQUEST) return this.eventError;
    const kind = kindOf(sqe);
    const failing = kind === null ? undefined : this.#failing.get(kind);
    if (failing === undefined || failing.left === 0) return 0;
    failing.left--;
    return failing.status;
  }

  /** Makes the answer to a command wrong, if it is to be. */
  spoil(sqe: Uint32Array, data: Uint8Array<ArrayBuffer>): void {
    if (this.#anaLogSpoils.length === 0 || kindOf(sqe) !== "ANA log") return;
    // A later piece of a log has no header.
    if (data.length < AnaLogAt.DESCRIPTORS + AnaGroupAt.NSIDS) return;
    this.#anaLogSpoils.shift()!(new DataView(data.buffer, data.byteOffset, data.byteLength));
  }
}

/** Once as often as not, else so often that more than one attempt fails. */
function drawTimes(prng: Prng): number {
  return prng.below(2) === 0 ? 1 : 2 + prng.below(5);
}

function pick<T>(prng: Prng, choices: readonly T[]): T {
  return choices[prng.below(choices.length)];
}

/** Gives the portal another ANA state, which its path has to learn; how it is optimized again. */
function changeAna({ world, prng }: FaultPlan, portal: Portal): () => void {
  world.setAna(portal, pick(prng, ANA_STATES));
  return () => world.setAna(portal, AnaStateCode.OPTIMIZED);
}

/** Every fault of the admin side: a command, an event, the size as one target shows it. */
export const ADMIN_FAULTS: Readonly<Record<string, Begin>> = {
  // At a reconnect, or on a live path, which a change makes ask.
  "admin-failure": (plan, portal) => {
    const { prng } = plan;
    const kind = pick(prng, KIND_NAMES);
    const isLasting = OPTIONAL.includes(kind) && prng.below(3) === 0;
    portal.admin.fail(kind, { times: drawTimes(prng), status: isLasting ? LASTING : pick(prng, PASSING) });
    const restore = prng.below(2) === 0 ? FAULTS["reset-all"](plan, portal) : changeAna(plan, portal);
    return () => {
      portal.admin.heal(kind);
      restore?.();
    };
  },
  "malformed-ana-log": (plan, portal) => {
    const times = drawTimes(plan.prng);
    portal.admin.spoilAnaLogs(Array.from({ length: times }, () => pick(plan.prng, ANA_LOG_SPOILS)));
    const restore = changeAna(plan, portal);
    return () => {
      portal.admin.spoilAnaLogs([]);
      restore();
    };
  },
  // The request that waits ends, and the next one is taken.
  "event-error": (plan, portal) => {
    endEventRequests(plan, portal);
    return changeAna(plan, portal);
  },
  "refused-events": (plan, portal) => {
    portal.admin.eventError = endEventRequests(plan, portal);
    const restore = changeAna(plan, portal);
    return () => {
      portal.admin.eventError = 0;
      restore();
    };
  },
  // One portal at a time: what no path tells cannot be known.
  "lost-events": (plan, portal) => {
    if (plan.world.portals.some(({ admin }) => admin.losesEvents)) return null;
    portal.admin.losesEvents = true;
    const restore = changeAna(plan, portal);
    // A controller that never tells of it, or one that does in the end.
    const isLostToo = plan.prng.below(2) === 0;
    return () => {
      if (isLostToo) restore();
      portal.admin.losesEvents = false;
      restore();
    };
  },
  // It grows, and only one target shows it for a while.
  "late-growth": ({ world, prng }, portal) => {
    const { blocks } = world.scenario;
    const others = world.targets.filter((target) => target !== world.targetOf(portal));
    world.resize(drawSize(world.scenario, prng));
    for (const target of others) target.isSizeLate = true;
    let isOver = false;
    world.clock.after(prng.unit() * 200, () => !isOver && world.resize(blocks));
    return () => {
      isOver = true;
      world.resize(blocks);
      for (const target of others) world.showSize(target);
    };
  },
};

/** Ends the event requests that wait with an error; its status. */
function endEventRequests({ world, prng }: FaultPlan, portal: Portal): number {
  const status = pick(prng, EVENT_ERRORS);
  for (const control of world.controlsOf(portal)) control.endEventRequests(status);
  return status;
}
