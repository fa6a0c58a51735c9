/**
 * A host by hand for the controllers of the target: commands and answers byte by byte, with the offsets of the
 * specification's figures as numbers. It shares nothing with `src/protocol`.
 */

import { assertEquals } from "@std/assert";
import { assert } from "../../../src/base/assert.ts";
import type { AdminAnswer } from "../../../src/nvme_target/admin_answer.ts";
import type { Controller } from "../../../src/nvme_target/controller.ts";
import type { NamespaceDescription, SubsystemDescription } from "../../../src/nvme_target/description.ts";
import { type ConnectResult, Subsystem, type SubsystemDeps } from "../../../src/nvme_target/subsystem.ts";
import { TargetTable } from "../../../src/nvme_target/target_table.ts";

export const NQN = "nqn.2014-08.org.example:target";
export const DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery";
export const HOST_NQN = "nqn.2014-08.org.example:host";
export const HOST_ID = Uint8Array.from({ length: 16 }, (_, i) => 0x40 + i);

/** Do not retry, and more in the log. */
export const DNR = 0x4000;
export const MORE = 0x2000;

export const IO_LISTENERS = [
  { index: 0, traddr: "10.0.0.1", trsvcid: 4420 },
  { index: 1, traddr: "fd00::1", trsvcid: 4421 },
];

export function namespaceOf(more: Partial<NamespaceDescription> = {}): NamespaceDescription {
  const index = more.index ?? 0;
  return {
    index,
    nsid: index + 1,
    blockSize: 512,
    blocks: 2048,
    readOnly: false,
    volatileCache: false,
    uuid: Uint8Array.from({ length: 16 }, (_, i) => 0x10 * (index + 1) + i),
    nguid: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + index + i),
    ...more,
  };
}

export function descriptionOf(more: Partial<SubsystemDescription> = {}): SubsystemDescription {
  return {
    nqn: NQN,
    serial: "SN42",
    model: "Test target",
    namespaces: [namespaceOf()],
    limits: { ioQueuesMax: 4, queueEntriesMax: 128, transferBytesMax: 1 << 20, inCapsuleBytes: 8192 },
    allowedHosts: null,
    ...more,
  };
}

export interface Words {
  opc: number;
  nsid?: number;
  cdw10?: number;
  cdw11?: number;
  cdw12?: number;
  cdw13?: number;
  cdw14?: number;
  cid?: number;
  flags?: number;
  sglBytes?: number;
}

/** An SQE as 16 dwords. */
export function sqe(words: Words): Uint32Array {
  const dwords = new Uint32Array(16);
  dwords[0] = words.opc | ((words.flags ?? 0x40) << 8) | ((words.cid ?? 0) << 16);
  dwords[1] = words.nsid ?? 0;
  dwords[8] = words.sglBytes ?? 0;
  [words.cdw10, words.cdw11, words.cdw12, words.cdw13, words.cdw14].forEach((value, i) => dwords[10 + i] = value ?? 0);
  return dwords;
}

export interface ConnectWords {
  qid?: number;
  sqsize?: number;
  cattr?: number;
  katoMs?: number;
  recfmt?: number;
  cntlid?: number;
  subnqn?: string;
  hostnqn?: string;
  hostId?: Uint8Array;
}

/** A Connect: its SQE and its data. */
export function connectWords(words: ConnectWords = {}): { entry: Uint32Array; data: Uint8Array } {
  const entry = new Uint32Array(16);
  entry[0] = 0x407f;
  entry[1] = 0x01;
  entry[8] = 1024;
  entry[10] = (words.recfmt ?? 0) | ((words.qid ?? 0) << 16);
  entry[11] = (words.sqsize ?? 31) | ((words.cattr ?? 0) << 16);
  entry[12] = words.katoMs ?? 0;
  const data = new Uint8Array(1024);
  data.set(words.hostId ?? HOST_ID, 0);
  const cntlid = words.cntlid ?? 0xffff;
  data[16] = cntlid & 0xff;
  data[17] = cntlid >> 8;
  const encoder = new TextEncoder();
  data.set(encoder.encode(words.subnqn ?? NQN).subarray(0, 256), 256);
  data.set(encoder.encode(words.hostnqn ?? HOST_NQN).subarray(0, 256), 512);
  return { entry, data };
}

export interface TargetOptions extends Partial<SubsystemDeps> {
  description?: Partial<SubsystemDescription>;
}

/** A subsystem and hosts that connect to it. */
export class AdminTarget {
  readonly table = new TargetTable();
  readonly subsystem: Subsystem;
  nowMs = 1_000;

  constructor({ description, ...deps }: TargetOptions = {}) {
    this.subsystem = new Subsystem(descriptionOf(description), {
      table: this.table,
      listeners: IO_LISTENERS,
      nowMs: this.nowMs,
      ...deps,
    });
  }

  connect(words: ConnectWords = {}, listener = 0): ConnectResult {
    const { entry, data } = connectWords(words);
    return this.subsystem.connect(listener, entry, data, this.nowMs);
  }

  /** A controller that is enabled. */
  host(words: ConnectWords = {}, listener = 0): AdminHost {
    const host = this.disabledHost(words, listener);
    host.setCc(CC_ENABLE);
    return host;
  }

  disabledHost(words: ConnectWords = {}, listener = 0): AdminHost {
    const { answer, controller } = this.connect(words, listener);
    assertEquals(answer.status, 0);
    assert(controller !== null, "a Connect that succeeds has a controller");
    return new AdminHost(this, controller);
  }

  /** A discovery controller that is enabled. */
  discoveryHost(words: ConnectWords = {}, listener = 0): AdminHost {
    return this.host({ subnqn: DISCOVERY, ...words }, listener);
  }
}

/** EN, IOSQES 6, IOCQES 4. */
export const CC_ENABLE = 0x00460001;
export const CC_DISABLE = 0x00460000;

/** The host's end of an admin queue. */
export class AdminHost {
  #cid = 0;

  constructor(readonly target: AdminTarget, readonly controller: Controller) {}

  /** Sends a command that is answered at once. */
  send(words: Words, data: Uint8Array | null = null): AdminAnswer {
    const answer = this.controller.handleCommand(sqe({ cid: this.#cid++, ...words }), data, this.target.nowMs);
    assert(answer !== null, "the command is answered at once");
    return answer;
  }

  /** Sends an event request that waits at `slot`. */
  awaitEvent(slot: number, cid = 0x100 + slot): void {
    assertEquals(this.controller.handleCommand(sqe({ opc: 0x0c, cid }), null, this.target.nowMs), null);
    this.controller.park(slot);
  }

  /** Slot and dword 0 of the next event, or null. */
  event(): [slot: number, dw0: number] | null {
    const event = this.controller.pollEvent();
    if (event === null) return null;
    assertEquals(event.answer.status, 0);
    return [event.slot, event.answer.dw0];
  }

  property(offset: number): number {
    const entry = sqe({ opc: 0x7f, nsid: 0x04, cdw11: offset });
    const answer = this.controller.handleCommand(entry, null, this.target.nowMs);
    assertEquals(answer?.status, 0);
    return answer!.dw0;
  }

  setCc(value: number): void {
    const entry = sqe({ opc: 0x7f, nsid: 0x00, cdw11: 0x14, cdw12: value });
    assertEquals(this.controller.handleCommand(entry, null, this.target.nowMs)?.status, 0);
  }

  get csts(): number {
    return this.property(0x1c);
  }

  identify(cns: number, more: Partial<Words> = {}): AdminAnswer {
    return this.send({ opc: 0x06, cdw10: cns, sglBytes: 4096, ...more });
  }

  /** The data of an Identify that succeeds. */
  identified(cns: number, more: Partial<Words> = {}): Uint8Array {
    return dataOf(this.identify(cns, more));
  }

  log(logId: number, bytes: number, more: { offset?: number; lsp?: number; rae?: boolean } & Partial<Words> = {}) {
    const { offset = 0, lsp = 0, rae = false, ...words } = more;
    const numd = bytes / 4 - 1;
    return this.send({
      opc: 0x02,
      cdw10: (logId | (lsp << 8) | (rae ? 0x8000 : 0) | ((numd & 0xffff) << 16)) >>> 0,
      cdw11: numd >>> 16,
      cdw12: offset % 2 ** 32,
      cdw13: Math.floor(offset / 2 ** 32),
      sglBytes: bytes,
      ...words,
    });
  }

  /** The data of a Get Log Page that succeeds. */
  logged(logId: number, bytes: number, more: { offset?: number; lsp?: number; rae?: boolean } = {}): Uint8Array {
    return dataOf(this.log(logId, bytes, more));
  }

  setFeature(fid: number, cdw11 = 0, more: Partial<Words> = {}, data: Uint8Array | null = null): AdminAnswer {
    return this.send({ opc: 0x09, cdw10: fid, cdw11, ...more }, data);
  }

  getFeature(fid: number, more: Partial<Words> = {}): AdminAnswer {
    return this.send({ opc: 0x0a, ...more, cdw10: fid | (more.cdw10 ?? 0) });
  }

  /** Connects an I/O queue. */
  connectIo(qid: number, words: ConnectWords = {}): ConnectResult {
    return this.target.connect(
      { qid, cntlid: this.controller.cntlid, sqsize: 127, ...words },
      this.controller.listener,
    );
  }
}

export function dataOf(answer: AdminAnswer): Uint8Array {
  assertEquals(answer.status, 0);
  assert(answer.data !== null, "the answer has data");
  return answer.data;
}

/** Reads a little-endian number, one byte at a time. */
export function get(data: Uint8Array, at: number, bytes: number): number {
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + data[at + i];
  return value;
}

export function textAt(data: Uint8Array, at: number, bytes: number): string {
  return String.fromCharCode(...data.subarray(at, at + bytes));
}

/** A structure of zeroes but for these fields: the whole of what is expected, byte for byte. */
export function layout(bytes: number, fields: readonly [at: number, bytes: number, value: number | string][]) {
  const data = new Uint8Array(bytes);
  for (const [at, width, value] of fields) {
    if (typeof value === "string") {
      for (let i = 0; i < width; i++) data[at + i] = i < value.length ? value.charCodeAt(i) : 0x20;
      continue;
    }
    let rest = value;
    for (let i = 0; i < width; i++) {
      data[at + i] = rest % 256;
      rest = Math.floor(rest / 256);
    }
  }
  return data;
}
