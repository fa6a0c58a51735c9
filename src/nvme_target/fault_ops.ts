/** Commands as faults name them, and how one is told by its opcode. */
import { AdminOpcode, FABRICS_OPCODE, FabricsType, NvmOpcode } from "../protocol/nvme.ts";
import type { FaultQueue } from "./fault_rule.ts";

interface OpInfo {
  /** The queues it comes on; null: both. */
  readonly queue: FaultQueue | null;
  /** null: every command of that queue. */
  readonly opcode: number | null;
  /** FCTYPE, for a Fabrics command. */
  readonly fabricsType?: number;
}

/** Names of commands, and of the groups `io`, `admin` and `any`. A Connect is in `admin` and `any`, on every queue. */
export const FAULT_OPS: Readonly<Record<string, OpInfo>> = Object.freeze({
  any: { queue: null, opcode: null },
  io: { queue: "io", opcode: null },
  admin: { queue: "admin", opcode: null },
  read: { queue: "io", opcode: NvmOpcode.READ },
  write: { queue: "io", opcode: NvmOpcode.WRITE },
  flush: { queue: "io", opcode: NvmOpcode.FLUSH },
  compare: { queue: "io", opcode: NvmOpcode.COMPARE },
  "write-zeroes": { queue: "io", opcode: NvmOpcode.WRITE_ZEROES },
  deallocate: { queue: "io", opcode: NvmOpcode.DATASET_MANAGEMENT },
  "keep-alive": { queue: "admin", opcode: AdminOpcode.KEEP_ALIVE },
  identify: { queue: "admin", opcode: AdminOpcode.IDENTIFY },
  "get-log-page": { queue: "admin", opcode: AdminOpcode.GET_LOG_PAGE },
  "get-features": { queue: "admin", opcode: AdminOpcode.GET_FEATURES },
  "set-features": { queue: "admin", opcode: AdminOpcode.SET_FEATURES },
  "async-event": { queue: "admin", opcode: AdminOpcode.ASYNC_EVENT_REQUEST },
  abort: { queue: "admin", opcode: AdminOpcode.ABORT },
  connect: { queue: null, opcode: FABRICS_OPCODE, fabricsType: FabricsType.CONNECT },
  "property-get": { queue: "admin", opcode: FABRICS_OPCODE, fabricsType: FabricsType.PROPERTY_GET },
  "property-set": { queue: "admin", opcode: FABRICS_OPCODE, fabricsType: FabricsType.PROPERTY_SET },
});

const OPCODES = 256;

/** Which commands of one queue some names stand for: looked up by opcode. Before Connect the queue is null. */
export class OpSet {
  /** By opcode; then by FCTYPE for Fabrics commands. */
  readonly #isIn = new Uint8Array(2 * OPCODES);
  readonly #isEmpty: boolean;

  constructor(names: readonly string[], queue: FaultQueue | null) {
    for (const name of names) this.#add(FAULT_OPS[name]!, queue);
    this.#isEmpty = this.#isIn.every((isIn) => isIn === 0);
  }

  #add(op: OpInfo, queue: FaultQueue | null): void {
    const hasConnect = op.fabricsType === FabricsType.CONNECT || (op.opcode === null && op.queue !== "io");
    if (hasConnect) this.#isIn[OPCODES + FabricsType.CONNECT] = 1;
    if (queue === null || (op.queue !== null && op.queue !== queue)) return;
    if (op.opcode === null) this.#isIn.fill(1, 0, op.queue === "io" ? OPCODES : 2 * OPCODES);
    else if (op.fabricsType !== undefined) this.#isIn[OPCODES + op.fabricsType] = 1;
    else this.#isIn[op.opcode] = 1;
  }

  /** No command of the queue is in it. */
  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  /** True if the command is in it; `fabricsType` counts only for a Fabrics command. */
  has(opcode: number, fabricsType: number): boolean {
    return this.#isIn[opcode === FABRICS_OPCODE ? OPCODES + (fabricsType & 0xff) : opcode & 0xff] === 1;
  }
}
