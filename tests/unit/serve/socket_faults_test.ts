import { assertEquals } from "@std/assert";
import { SocketFaults } from "../../../src/serve/socket_faults.ts";
import { NvmOpcode } from "../../../src/protocol/nvme.ts";
import { StatusCode } from "../../../src/protocol/nvme_status.ts";
import { FaultScript } from "../../../src/nvme_target/fault_script.ts";
import { parseFaults } from "../../../src/nvme_target/fault_words.ts";
import { FakeClock } from "./fake_clock.ts";

/** Faults in force from now on, and what was done to the connection in order. */
class Rig implements Disposable {
  readonly done: string[] = [];
  readonly connection = {
    state: "ready",
    drop: (slot: number) => this.done.push(`drop ${slot}`),
    spoilNextDigest: () => this.done.push("spoil"),
  };
  readonly faults: SocketFaults;

  constructor(...words: string[]) {
    this.faults = new SocketFaults(() => {
      this.faults.handleTime(performance.now());
      this.done.push("wake");
    });
    this.set(...words);
  }

  set(...words: string[]): void {
    const nowMs = performance.now();
    const rules = parseFaults(words, [{ index: 0, traddr: "127.0.0.1", trsvcid: 4420 }]);
    const script = new FaultScript({ rules, seed: 1, startMs: nowMs });
    this.faults.set(script.connection({ listener: 0, queue: "io", stream: 0, sinceMs: nowMs }));
  }

  /** A command comes and is answered; the status that faults want it to have. */
  command(slot: number, opcode: number): number {
    const status = this.faults.judge(slot, { opcode, fabricsType: 0 });
    this.faults.answer(slot, this.connection, () => this.done.push(`answer ${slot}`));
    return status;
  }

  [Symbol.dispose](): void {
    this.faults[Symbol.dispose]();
  }
}

Deno.test("SocketFaults drops, spoils and refuses the commands that are meant, and answers all others", () => {
  using rig = new Rig("1:drop,op=read", "1:digest,op=write", "1:status=write-fault,op=flush");
  assertEquals(rig.command(1, NvmOpcode.READ), 0);
  assertEquals(rig.command(2, NvmOpcode.WRITE), 0);
  assertEquals(rig.command(3, NvmOpcode.FLUSH), StatusCode.WRITE_FAULT);
  assertEquals(rig.command(4, NvmOpcode.COMPARE), 0);
  assertEquals(rig.done, ["drop 1", "spoil", "answer 2", "answer 3", "answer 4"]);
});

Deno.test("SocketFaults decides once for a command, though it comes up again with its data", () => {
  using rig = new Rig("1:status=write-fault,op=write,count=1");
  rig.faults.judge(1, { opcode: NvmOpcode.READ, fabricsType: 0 });
  assertEquals(rig.faults.judge(1, { opcode: NvmOpcode.WRITE, fabricsType: 0 }), 0);
  rig.faults.answer(1, rig.connection, () => {});
  assertEquals(rig.command(1, NvmOpcode.WRITE), StatusCode.WRITE_FAULT);
});

Deno.test("SocketFaults holds an answer back, then gives it and has it sent", () => {
  using clock = new FakeClock();
  using rig = new Rig("1:delay=30ms,op=read");
  rig.command(1, NvmOpcode.READ);
  rig.command(2, NvmOpcode.WRITE);
  clock.advance(29);
  assertEquals([rig.done, rig.faults.isHolding], [["answer 2", "wake"], true]);
  clock.advance(1);
  assertEquals([rig.done, rig.faults.isHolding], [["answer 2", "wake", "answer 1", "wake"], false]);
});

Deno.test("SocketFaults gives no answer that was held back to a connection that is over", () => {
  using clock = new FakeClock();
  using failed = new Rig("1:delay=20ms");
  const disposed = new Rig("1:delay=20ms");
  failed.command(1, NvmOpcode.READ);
  disposed.command(1, NvmOpcode.READ);
  failed.connection.state = "failed";
  disposed[Symbol.dispose]();
  clock.advance(50);
  assertEquals([failed.done, disposed.done], [["wake"], []]);
});

Deno.test("SocketFaults wakes its owner for faults that begin, now and later, and when they end", () => {
  using clock = new FakeClock();
  using rig = new Rig("1:stall,at=40ms,for=40ms");
  assertEquals([rig.done, rig.faults.link.isSilent], [[], false]);
  clock.advance(39);
  assertEquals([rig.done, rig.faults.link.isSilent], [["wake"], false]);
  clock.advance(40);
  assertEquals([rig.done, rig.faults.link.isSilent], [["wake", "wake"], true]);
  clock.advance(1);
  assertEquals([rig.done, rig.faults.link.isSilent], [["wake", "wake", "wake"], false]);
  rig.set("1:stall");
  clock.advance(0);
  assertEquals([rig.done.length, rig.faults.link.isSilent], [4, true]);
});
