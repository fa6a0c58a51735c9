/** A host's end of a connection to the main thread of a target, on fake sockets, and what a socket there needs. */
import { assert, assertEquals } from "@std/assert";
import { Arena } from "../../../src/io/arena.ts";
import { FaultControl } from "../../../src/serve/fault_control.ts";
import type { TargetSocketOptions } from "../../../src/serve/target_socket.ts";
import type { ConnectResult } from "../../../src/nvme_target/subsystem.ts";
import { AdminTarget, type ConnectWords, connectWords } from "../nvme_target/admin_fixture.ts";
import { type CommandFields, NaiveHost, response, type TargetPdu } from "../nvme_target/naive_host.ts";
import { FakePoller, type FakeSocket, FakeSockets } from "./fake_sockets.ts";

const TRANSFER_BYTES_MAX = 64 << 10;
const IN_CAPSULE_BYTES = 8192;

/** The main thread of a target: its sockets, its poller, its subsystem and its faults. */
export class MainThread implements Disposable {
  readonly sockets = new FakeSockets();
  readonly poller = new FakePoller();
  readonly target: AdminTarget;
  readonly arena = new Arena();
  readonly faults = new FaultControl({
    listeners: () => [{ index: 0, traddr: "10.0.0.1", trsvcid: 4420 }],
    ana: () => 1,
    setAna: () => {},
    takeDown: () => {},
    bringUp: () => {},
    tellWorkers: () => {},
  });

  constructor(target = new AdminTarget()) {
    this.target = target;
  }

  open(): HostEnd {
    return new HostEnd(this, this.sockets.open());
  }

  /** Options of a socket for that host. */
  options(host: HostEnd): Omit<TargetSocketOptions, "owner"> {
    return {
      arena: this.arena,
      fd: host.socket.fd,
      peer: "10.0.0.9:50000",
      slots: 8,
      transferBytesMax: TRANSFER_BYTES_MAX,
      inCapsuleBytes: IN_CAPSULE_BYTES,
      faults: { control: this.faults, listener: 0 },
    };
  }

  connect(sqe: Uint32Array, data: Uint8Array): ConnectResult {
    return this.target.subsystem.connect(0, sqe, data, this.target.nowMs);
  }

  [Symbol.dispose](): void {
    this.faults[Symbol.dispose]();
    this.sockets[Symbol.dispose]();
    this.arena[Symbol.dispose]();
  }
}

/** A host that sends one thing after the other, and takes what comes back. */
export class HostEnd {
  readonly host = new NaiveHost();
  readonly #main: MainThread;

  constructor(main: MainThread, readonly socket: FakeSocket) {
    this.#main = main;
  }

  /** Sends bytes, and gives the PDUs that come back. */
  send(bytes: Uint8Array): TargetPdu[] {
    this.socket.arrive(bytes);
    return this.take();
  }

  /** The PDUs that have come since. */
  take(): TargetPdu[] {
    this.#main.poller.ready();
    return this.host.receive(this.socket.take());
  }

  /** ICReq and ICResp. */
  begin(): void {
    const [icResp] = this.send(this.host.icReq());
    assertEquals(icResp?.type, 1, "an ICResp comes");
  }

  /** Sends a command whose answer comes at once. */
  command(fields: CommandFields): { status: number; dw0: number; cid: number } {
    const answers = this.send(this.host.command(fields));
    assert(answers.length > 0, "an answer comes");
    return response(answers.at(-1)!);
  }

  connectFields(words: ConnectWords = {}, cid = 7): CommandFields {
    const { entry, data } = connectWords(words);
    const dwords = { 10: entry[10]!, 11: entry[11]!, 12: entry[12]! };
    return { cid, opcode: 0x7f, fctype: 1, data, dwords };
  }

  connect(words: ConnectWords = {}): { status: number; dw0: number; cid: number } {
    return this.command(this.connectFields(words));
  }
}
