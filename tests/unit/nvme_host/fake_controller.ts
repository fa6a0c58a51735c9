/**
 * Identify data, logs and a scripted controller for tests, written byte by byte with the offsets of the specification's
 * figures as numbers: a second, naive codec that shares nothing with `src/protocol`.
 */

import type { AdminStep, CommandAnswer, StepResult } from "../../../src/nvme_host/steps.ts";

/** Writes `value` little-endian, one byte at a time. */
export function put(data: Uint8Array, at: number, bytes: number, value: number | bigint): void {
  let rest = BigInt(value);
  for (let i = 0; i < bytes; i++) {
    data[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
}

/** Reads a little-endian number, one byte at a time. */
export function get(data: Uint8Array, at: number, bytes: number): number {
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + data[at + i];
  return value;
}

function putText(data: Uint8Array, at: number, bytes: number, words: string): void {
  for (let i = 0; i < bytes; i++) data[at + i] = i < words.length ? words.charCodeAt(i) : 0x20;
}

/** Identify Controller of a plain I/O controller that reports ANA (Base 2.0, figure "Identify Controller"). */
export function identifyControllerData(cntlid = 7): Uint8Array {
  const data = new Uint8Array(4096);
  putText(data, 4, 20, "SN0001");
  putText(data, 24, 40, "Example array");
  putText(data, 64, 8, "1.2.3");
  put(data, 76, 1, 0x0b); // CMIC: ports, controllers, ANA
  put(data, 77, 1, 5); // MDTS: 128 KiB of 4 KiB pages
  put(data, 78, 2, cntlid);
  put(data, 80, 4, 0x00020000); // VER 2.0.0
  put(data, 92, 4, 0x00000b00); // OAES: namespace attribute, firmware, ANA
  put(data, 96, 4, 0x00000040); // CTRATT: TBKAS
  put(data, 111, 1, 1); // CNTRLTYPE: I/O
  put(data, 259, 1, 3); // AERL
  put(data, 320, 2, 10); // KAS: 1 s
  put(data, 342, 1, 10); // ANATT
  put(data, 344, 4, 32); // ANAGRPMAX
  put(data, 348, 4, 4); // NANAGRPID
  put(data, 514, 2, 128); // MAXCMD
  put(data, 516, 4, 1024); // NN
  put(data, 520, 2, 0x000c); // ONCS: DSM, write zeroes
  put(data, 525, 1, 1); // VWC
  put(data, 536, 4, 0x00000001); // SGLS
  put(data, 540, 4, 16); // MNAN
  new TextEncoder().encodeInto("nqn.2014-08.org.example:vol", data.subarray(768));
  put(data, 1792, 4, 516); // IOCCSZ: 64 + 8192 bytes
  put(data, 1796, 4, 1); // IORCSZ
  return data;
}

/** Identify Namespace with 4096-byte blocks as format 1 of 2 (NVM Command Set 1.0, figure "Identify Namespace"). */
export function identifyNamespaceData(): Uint8Array {
  const data = new Uint8Array(4096);
  put(data, 0, 8, 262144); // NSZE
  put(data, 8, 8, 262144); // NCAP
  put(data, 24, 1, 0x10); // NSFEAT: OPTPERF
  put(data, 25, 1, 1); // NLBAF: 2 formats
  put(data, 26, 1, 1); // FLBAS: format 1
  put(data, 30, 1, 1); // NMIC: shared
  put(data, 33, 1, 0x09); // DLFEAT: zeroes, DEAC
  put(data, 46, 2, 32); // NOIOB
  put(data, 64, 2, 3); // NPWG: 4 blocks
  put(data, 68, 2, 7); // NPDG: 8 blocks
  put(data, 72, 2, 15); // NOWS: 16 blocks
  put(data, 92, 4, 1); // ANAGRPID
  for (let i = 0; i < 16; i++) data[104 + i] = 0xa0 + i; // NGUID
  put(data, 128 + 2, 1, 9);
  put(data, 132 + 2, 1, 12);
  return data;
}

/** Namespace Identification Descriptors: NGUID, UUID, CSI (Base 2.0, figure "Namespace Identification Descriptor"). */
export function descriptorsData(): Uint8Array {
  const data = new Uint8Array(4096);
  data.set([2, 16, 0, 0], 0);
  for (let i = 0; i < 16; i++) data[4 + i] = 0xa0 + i;
  data.set([3, 16, 0, 0], 20);
  for (let i = 0; i < 16; i++) data[24 + i] = 0x10 + i;
  data.set([4, 1, 0, 0, 0], 40);
  return data;
}

/** Active Namespace ID list. */
/** The independent Identify Namespace of a namespace with a volatile write cache on media that turn. */
export function independentNamespaceData(features = 1 << 4): Uint8Array {
  const data = new Uint8Array(4096);
  put(data, 0, 1, features);
  return data;
}

export function activeListData(nsids: readonly number[]): Uint8Array {
  const data = new Uint8Array(4096);
  nsids.slice(0, 1024).forEach((nsid, index) => put(data, index * 4, 4, nsid));
  return data;
}

/** ANA log (Base 2.0, figures "Asymmetric Namespace Access Log Page" and "ANA Group Descriptor"). */
export function anaLogData(groups: readonly { id: number; state: number; nsids: number[] }[]): Uint8Array {
  const bytes = groups.reduce((sum, group) => sum + 32 + 4 * group.nsids.length, 16);
  const data = new Uint8Array(bytes);
  put(data, 0, 8, 42);
  put(data, 8, 2, groups.length);
  let at = 16;
  for (const group of groups) {
    put(data, at, 4, group.id);
    put(data, at + 4, 4, group.nsids.length);
    put(data, at + 16, 1, group.state);
    group.nsids.forEach((nsid, index) => put(data, at + 32 + 4 * index, 4, nsid));
    at += 32 + 4 * group.nsids.length;
  }
  return data;
}

/** An answer of success, with what a test wants else. */
export function answer(more: Partial<CommandAnswer> = {}): CommandAnswer {
  return { status: 0, result0: 0, result1: 0, data: null, ...more };
}

/** What a command is, from its bytes: "connect", "get 1c", "set 14", "identify 1", "features 7", "log c". */
export function commandKey(sqe: Uint8Array): string {
  const opcode = sqe[0];
  if (opcode === 0x7f) {
    if (sqe[4] === 1) return "connect";
    return `${sqe[4] === 4 ? "get" : "set"} ${get(sqe, 44, 4).toString(16)}`;
  }
  const names: Record<number, string> = { 0x06: "identify", 0x09: "features", 0x02: "log" };
  return `${names[opcode] ?? opcode} ${sqe[40].toString(16)}`;
}

type Reply = CommandAnswer | ((sqe: Uint8Array, fake: FakeController) => CommandAnswer);

/** CAP of the fake: MQES 127, TO 1 (500 ms), NVM command set, pages of 4 KiB. */
const CAP_LOW = 127 | (1 << 24);
const CAP_HIGH = 1 << 5;

/** A controller that answers bring-up; tests replace single answers by {@linkcode commandKey}. */
export class FakeController {
  cc = 0;
  csts = 0;
  /** Looks at CSTS until RDY follows CC.EN. */
  readyAfterPolls = 2;
  /** Keys of the commands that came, in order. */
  readonly seen: string[] = [];
  /** Milliseconds waited. */
  waitedMs = 0;
  #polls = 0;

  constructor(readonly replies: Record<string, Reply> = {}) {}

  /** Runs a bring-up to its end. */
  run<T>(steps: Generator<AdminStep, T, StepResult>): T {
    let turn = steps.next();
    while (!turn.done) turn = steps.next(this.#serve(turn.value));
    return turn.value;
  }

  #serve(step: AdminStep): StepResult {
    if (step.kind === "wait") {
      this.waitedMs += step.ms;
      return null;
    }
    const { sqe } = step.command;
    const key = commandKey(sqe);
    this.seen.push(key);
    const reply = this.replies[key] ?? this.#reply(key, sqe);
    return typeof reply === "function" ? reply(sqe, this) : reply;
  }

  #reply(key: string, sqe: Uint8Array): CommandAnswer {
    switch (key) {
      case "connect":
        return answer({ result0: 7 });
      case "get 0":
        return answer({ result0: CAP_LOW, result1: CAP_HIGH });
      case "get 8":
        return answer({ result0: 0x00020000 });
      case "get 14":
        return answer({ result0: this.cc });
      case "set 14":
        this.cc = get(sqe, 48, 4);
        this.#polls = 0;
        return answer();
      case "get 1c":
        return answer({ result0: this.#status() });
      case "identify 1":
        return answer({ data: identifyControllerData() });
      case "identify 6":
        return answer({ data: new Uint8Array(4096) });
      case "features 7":
        return answer({ result0: (2 << 16) | 2 });
      case "identify 2":
        return answer({ data: activeListData([1, 2, 5]) });
      case "identify 0":
        return answer({ data: identifyNamespaceData() });
      case "identify 3":
        return answer({ data: descriptorsData() });
      case "identify 8":
        return answer({ data: independentNamespaceData() });
      case "log c":
        return answer({ data: anaLogData([{ id: 1, state: 1, nsids: [1, 2] }, { id: 2, state: 3, nsids: [5] }]) });
      default:
        return answer();
    }
  }

  #status(): number {
    if (++this.#polls > this.readyAfterPolls) this.csts = this.cc & 1;
    return this.csts;
  }
}
