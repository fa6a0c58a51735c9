/** What a host sees of `umpath target fault`, a PDU at a time, on admin queues, I/O queues and on the way to them. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AdminOpcode, NvmOpcode } from "../../src/protocol/nvme.ts";
import { StatusCode, StatusField } from "../../src/protocol/nvme_status.ts";
import { DigestFlag } from "../../src/protocol/nvme_tcp.ts";
import { delay } from "./host/host_fixture.ts";
import { Cli } from "./cli_fixture.ts";
import { type Completion, RawHost } from "./raw_host.ts";
import { identifySqe, ioSqe, sqe } from "./raw_pdus.ts";
import { Served } from "./served.ts";
import { Stopwatch } from "./stopwatch.ts";

const NQN = "nqn.2026-11.io.test:served";
const READ_BYTES = 4096;
const READ = () => ioSqe(NvmOpcode.READ, 0, { blocks: 1, bytes: READ_BYTES });

/** A target with one listener, a controller and an I/O queue. */
class Rig implements AsyncDisposable {
  private constructor(
    readonly cli: Cli,
    readonly target: Served,
    readonly admin: RawHost & { cntlid: number },
    readonly io: RawHost,
  ) {}

  static async start({ katoMs = 0, digests = 0, words = [] as string[] } = {}): Promise<Rig> {
    const cli = new Cli();
    const target = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "1M", ...words] });
    const portal = target.portals[0]!;
    const admin = await RawHost.controller(portal, NQN, { katoMs, digests });
    const io = await RawHost.connect(portal, { nqn: NQN, qid: 1, cntlid: admin.cntlid, digests });
    return new Rig(cli, target, admin, io);
  }

  connectIo(qid: number): Promise<RawHost> {
    return RawHost.connect(this.target.portals[0]!, { nqn: NQN, qid, cntlid: this.admin.cntlid });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using _folder = this.cli;
    await using _target = this.target;
    this.io[Symbol.dispose]();
    this.admin[Symbol.dispose]();
    await this.target.end(); // in order, whatever is wrong just then
  }
}

function code({ status }: Completion): number {
  return status & StatusField.CODE_MASK;
}

Deno.test("a digest fault spoils the data digest of as many answers as it says, on both kinds of queue", async () => {
  await using rig = await Rig.start({ digests: DigestFlag.DDGST });
  await rig.target.fault("1:digest,op=identify,count=1", "1:digest,op=read,count=2");
  const identified = [await rig.admin.command(identifySqe()), await rig.admin.command(identifySqe())];
  assertEquals(identified.map(({ isIntact }) => isIntact), [false, true]);
  assertEquals(identified[0]!.data, identified[1]!.data);
  const read = [await rig.io.command(READ()), await rig.io.command(READ()), await rig.io.command(READ())];
  assertEquals(read.map(({ isIntact, data }) => [isIntact, data.length]), [
    [false, READ_BYTES],
    [false, READ_BYTES],
    [true, READ_BYTES],
  ]);
});

Deno.test("status, drop and delay faults hit the commands that they name, on both kinds of queue", async () => {
  await using rig = await Rig.start();
  await rig.target.fault(
    ...["1:status=internal-error,op=identify,count=1", "1:drop,op=keep-alive,count=1", "1:delay=150ms,op=read"],
    "1:status=namespace-not-ready+dnr,op=flush",
  );
  assertEquals(code(await rig.admin.command(identifySqe())), StatusCode.INTERNAL_ERROR);
  assertEquals(code(await rig.admin.command(identifySqe())), 0);
  const lost = await rig.admin.post(sqe(AdminOpcode.KEEP_ALIVE));
  await rig.admin.succeed("the next Keep Alive", sqe(AdminOpcode.KEEP_ALIVE));
  const took = new Stopwatch();
  await rig.io.succeed("Read", READ());
  assert(took.ms >= 140, `a read took ${took.ms} ms`);
  took.assertWithin(1000, "a read");
  await assertRejects(() => rig.admin.completion(lost, 100), Error, "no PDU within");
  const { status } = await rig.io.command(sqe(NvmOpcode.FLUSH));
  assertEquals(status, StatusCode.NAMESPACE_NOT_READY | StatusField.DNR);
  const faults = JSON.parse((await rig.target.target("fault", "--json")).stdout).faults as { hits: number }[];
  assertEquals(faults.map(({ hits }) => hits), [1, 1, 1, 1]);
});

Deno.test("faults hit a Connect: it is refused, answered late and never, and works when they are cleared", async () => {
  await using rig = await Rig.start();
  await rig.target.fault("1:status=connect-controller-busy,op=connect,count=1");
  await assertRejects(() => rig.connectIo(2), Error, "Connect was answered with status 0x181");
  await rig.target.fault("1:delay=200ms,op=connect");
  const began = performance.now();
  {
    using late = await rig.connectIo(2);
    assert(performance.now() - began >= 190, "it was answered late");
    await late.succeed("Read", READ());
  }
  await rig.target.fault("1:drop,op=connect");
  await assertRejects(() => rig.connectIo(3), Error, "no PDU within");
  await rig.target.fault("clear");
  using after = await rig.connectIo(4);
  await after.succeed("Read", READ());
});

Deno.test("a stall outlasts the keep-alive timeout, and what came meanwhile is answered at its end", async () => {
  // The command that makes the fault takes its time, too, on a busy machine.
  await using rig = await Rig.start({ katoMs: 6000 });
  await rig.target.fault("1:stall,for=7s");
  const took = new Stopwatch();
  const [alive, read] = await Promise.all([rig.admin.post(sqe(AdminOpcode.KEEP_ALIVE)), rig.io.post(READ())]);
  await delay(6500);
  const answers = [await rig.admin.completion(alive), await rig.io.completion(read)];
  took.assertWithin(8000, "the stall");
  assertEquals(answers.map(code), [0, 0]);
});

Deno.test("half-open connections take everything, answer nothing, and are gone when their host leaves", async () => {
  await using rig = await Rig.start();
  const before = rig.target.census();
  await rig.target.fault("1:half-open,queue=io");
  await delay(50);
  const read = await rig.io.post(READ());
  await assertRejects(() => rig.io.completion(read, 300), Error, "no PDU within");
  await rig.admin.succeed("Identify", identifySqe());
  rig.io[Symbol.dispose]();
  await rig.target.assertCensus({ ...before, sockets: before.sockets - 1, descriptors: before.descriptors - 1 });
  using another = await rig.connectIo(1);
  await another.succeed("Read", READ());
});

Deno.test("a reset and a listener that is down end what is there, and only while they last", async () => {
  await using rig = await Rig.start();
  await rig.target.fault("1:reset,queue=io");
  await rig.io.untilClosed(1000);
  await rig.admin.succeed("Identify", identifySqe());
  await rig.target.fault("1:down,for=400ms");
  await rig.admin.untilClosed(1000);
  await assertRejects(() => RawHost.open(rig.target.portals[0]!), Deno.errors.ConnectionRefused);
  await delay(600);
  using back = await RawHost.controller(rig.target.portals[0]!, NQN);
  await back.succeed("Identify", identifySqe());
});

Deno.test("umpath serve does wrong from its start on: --fault and the lines of --fault-script", async () => {
  await using cli = new Cli();
  const script = `${cli.folder}/faults`;
  Deno.writeTextFileSync(script, "# two faults\n1:drop,op=flush\n\n1:stall,at=1h  # later\n");
  const words = ["--ram", "1M", "--fault-script", script, "--fault", "1:delay=1ms", "--fault-seed", "7"];
  await using target = await Served.start(cli, { nqn: NQN, portals: 1, words });
  assertMatch((await target.target("fault")).stdout, /^1:drop,op=flush +0 hits\n.*at=1h.*\n1:delay=1ms .*\nseed 7\n$/);
  assertEquals((await target.target("fault", "clear")).stderr, "faults: cleared\n");
});
