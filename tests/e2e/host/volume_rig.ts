/** What tests of volumes share: a set of volumes on worker threads, over the fake target. */
import { assertEquals } from "@std/assert";
import { setLogSink } from "../../../src/base/log.ts";
import type { AttachParams, PathInfo } from "../../../src/rpc/host_api.ts";
import { VolumeSet } from "../../../src/host/daemon/volume_set.ts";
import { WorkerPool } from "../../../src/host/driver/worker_pool.ts";
import { type FakePortal, FakeTarget } from "./fake_target.ts";
import { attachParams, eventually } from "./host_fixture.ts";

/** A set of volumes on two worker threads, what it warned of, and what it logged. */
export class Rig implements AsyncDisposable {
  readonly warnings: string[] = [];
  readonly log: string[] = [];
  readonly failures: string[] = [];
  readonly set: VolumeSet;

  constructor(workers = 2) {
    setLogSink((line) => this.log.push(line));
    this.set = new VolumeSet(new WorkerPool(workers, (reason) => this.failures.push(reason)));
  }

  attach(portals: FakePortal[], more: Partial<AttachParams> = {}, signal?: AbortSignal) {
    const warn = (words: string) => void this.warnings.push(words);
    return this.set.attach(attachParams(portals, more), warn, signal === undefined ? {} : { signal });
  }

  detach(name: string, force = false) {
    return this.set.detach({ volumes: [name], all: false, force });
  }

  paths(name = "vol-n1"): PathInfo[] {
    return this.set.find(name).info().paths;
  }

  states(name = "vol-n1"): string[] {
    return this.paths(name).map((path) => path.state);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.set.close();
    setLogSink(null);
    assertEquals(this.failures, []);
    const bugs = this.log.filter((line) => /bug|does not expect|\bat .*\.ts:\d/.test(line));
    assertEquals(bugs, []);
  }
}

/** Registers a test that has a rig and a target; afterwards nothing may be left of either. */
export function testSet(name: string, portals: number, body: (rig: Rig, target: FakeTarget) => Promise<void>): void {
  Deno.test(name, async () => {
    await using target = FakeTarget.start({ portals });
    {
      await using rig = new Rig();
      await body(rig, target);
    }
    await eventually("no connection is left", () => target.connections === 0);
  });
}
