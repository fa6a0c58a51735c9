import { assertEquals, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { FaultControl, type FaultedSocket } from "../../../src/serve/fault_control.ts";
import type { FaultPlan } from "../../../src/serve/fault_plan.ts";
import { AnaStateCode } from "../../../src/protocol/nvme_log.ts";
import type { ConnectionFaults } from "../../../src/nvme_target/connection_faults.ts";
import type { FaultQueue } from "../../../src/nvme_target/fault_rule.ts";
import { FakeClock } from "./fake_clock.ts";

/** A target with two listeners that notes what is done to it. */
class Rig implements Disposable {
  readonly done: string[] = [];
  readonly ana = [AnaStateCode.OPTIMIZED as number, AnaStateCode.NON_OPTIMIZED as number];
  plan: FaultPlan | null = null;
  readonly control = new FaultControl({
    listeners: () => [0, 1].map((index) => ({ index, traddr: `127.0.0.${index + 1}`, trsvcid: 4420 })),
    ana: (listener) => this.ana[listener]!,
    setAna: (listener, state) => {
      this.ana[listener] = state;
    },
    takeDown: (listener) => this.done.push(`down ${listener}`),
    bringUp: (listener) => this.done.push(`up ${listener}`),
    tellWorkers: (plan) => {
      this.plan = plan;
    },
  });

  [Symbol.dispose](): void {
    this.control[Symbol.dispose]();
  }
}

class Socket implements FaultedSocket {
  subject;
  faults: ConnectionFaults | null = null;

  constructor(control: FaultControl, listener: number) {
    this.subject = control.subject(listener);
    control.add(this);
  }

  become(control: FaultControl, queue: FaultQueue): void {
    this.subject = { ...this.subject, queue };
    control.add(this);
  }

  setFaults(faults: ConnectionFaults | null): void {
    this.faults = faults;
  }
}

Deno.test("FaultControl gives faults to the connections they are for, those of now and those to come", () => {
  using rig = new Rig();
  const { control } = rig;
  const [here, there] = [new Socket(control, 1), new Socket(control, 0)];
  control.set(["2:stall,queue=io", "2:reset,at=1h"], 7);
  assertEquals([here.faults?.kinds, there.faults], [["reset"], null]);
  here.become(control, "io");
  assertEquals(here.faults?.kinds, ["stall", "reset"]);
  assertEquals(new Socket(control, 1).faults?.kinds, ["reset"]);
  assertEquals(rig.plan?.rules.map(({ words }) => words), ["2:stall,queue=io", "2:reset,at=1h"]);
  control.delete(there);
  control.set([], 7);
  assertEquals([here.faults, rig.plan, control.plan], [null, null, null]);
});

Deno.test("FaultControl numbers the connections of a listener, so that chance falls alike each time", () => {
  using rig = new Rig();
  const streams = [0, 1, 0, 0, 1].map((listener) => rig.control.subject(listener).stream);
  assertEquals(streams, [0, 0, 1, 2, 1]);
});

Deno.test("FaultControl changes nothing if one of the faults cannot be understood", () => {
  using rig = new Rig();
  rig.control.set(["1:stall"], 7);
  const error = assertThrows(() => rig.control.set(["2:ana=inaccessible", "3:stall"], 8), UmpathError);
  assertEquals(error.message, 'Cannot use fault "3:stall": the target has no listener "3"');
  assertEquals(rig.control.info, { seed: 7, faults: [{ words: "1:stall", hits: 0 }] });
  assertEquals(rig.ana[1], AnaStateCode.NON_OPTIMIZED);
});

Deno.test("FaultControl takes listeners down and brings them up, in time and when faults are cleared", () => {
  using clock = new FakeClock();
  using rig = new Rig();
  rig.control.set(["1:down,for=30ms", "2:down,at=10ms"], 7);
  assertEquals(rig.done, ["down 0"]);
  clock.advance(60);
  assertEquals(rig.done, ["down 0", "down 1", "up 0"]);
  assertEquals(rig.control.info.faults.map(({ hits }) => hits), [1, 1]);
  rig.control.set([], 7);
  assertEquals(rig.done.at(-1), "up 1");
});

Deno.test("FaultControl gives a listener the ANA state back that it had before any fault", () => {
  using rig = new Rig();
  rig.control.set(["*:ana=inaccessible"], 7);
  assertEquals(rig.ana, [AnaStateCode.INACCESSIBLE, AnaStateCode.INACCESSIBLE]);
  rig.control.set(["*:ana=change"], 7);
  assertEquals(rig.ana, [AnaStateCode.CHANGE, AnaStateCode.CHANGE]);
  rig.control.set([], 7);
  assertEquals(rig.ana, [AnaStateCode.OPTIMIZED, AnaStateCode.NON_OPTIMIZED]);
});
