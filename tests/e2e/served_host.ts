/** A host of `umpath serve` that is ready for I/O, and what `umpath target` says at the same time. */
import { assertEquals, fail } from "@std/assert";
import type { TargetInfo } from "../../src/rpc/target_api.ts";
import { AdminOpcode, AsyncEventDw0, NvmOpcode, SqeAt } from "../../src/protocol/nvme.ts";
import { StatusField } from "../../src/protocol/nvme_status.ts";
import type { Result } from "./cli_fixture.ts";
import { eventConfigSqe } from "./raw_commands.ts";
import { RawHost } from "./raw_host.ts";
import { ioSqe, sqe } from "./raw_pdus.ts";
import type { Served } from "./served.ts";

/** Blocks are of the size that they have unless told otherwise. */
export const BLOCK_BYTES = 4096;

/** A controller and one of its I/O queues. */
export class Host implements Disposable {
  private constructor(readonly admin: RawHost, readonly io: RawHost) {}

  static async connect(target: Served, { portal = 0, katoMs = 0 } = {}): Promise<Host> {
    const where = target.portals[portal]!;
    const admin = await RawHost.controller(where, target.nqn, { katoMs });
    return new Host(admin, await RawHost.connect(where, { nqn: target.nqn, qid: 1, cntlid: admin.cntlid }));
  }

  /** Asks for events; the CID of the request. */
  async awaitEvents(events: number): Promise<number> {
    await this.admin.succeed("Set Features", eventConfigSqe(events));
    return await this.admin.post(sqe(AdminOpcode.ASYNC_EVENT_REQUEST));
  }

  /** The status code of a write of one block. */
  async tryWrite(lba: number, nsid = 1): Promise<number> {
    const entry = ioSqe(NvmOpcode.WRITE, lba, { blocks: 1, bytes: BLOCK_BYTES });
    new DataView(entry.buffer).setUint32(SqeAt.NSID, nsid, true);
    return code((await this.io.command(entry, new Uint8Array(BLOCK_BYTES))).status);
  }

  [Symbol.dispose](): void {
    this.io[Symbol.dispose]();
    this.admin[Symbol.dispose]();
  }
}

/** The status code of a status field. */
export function code(status: number): number {
  return status & StatusField.CODE_MASK;
}

/** The notice that an event request was answered with. */
export async function notice(admin: RawHost, cid: number): Promise<number> {
  const { status, dw0 } = await admin.completion(cid);
  assertEquals(status, 0);
  return dw0 >> AsyncEventDw0.INFO_SHIFT & 0xff;
}

/** What `umpath target show` says of it. */
export async function show(target: Served): Promise<TargetInfo> {
  const { targets } = json(await target.target("show", "--json", "--pid", `${target.pid}`)) as {
    targets: TargetInfo[];
  };
  return targets[0] ?? fail("The target is not shown");
}

/** The object that a command has printed. */
export function json({ code, stdout, stderr }: Result): Record<string, unknown> {
  assertEquals([code, stderr], [0, ""]);
  const { schemaVersion, ...rest } = JSON.parse(stdout);
  assertEquals(schemaVersion, 1);
  return rest;
}
