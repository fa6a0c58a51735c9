/** `umpath target` shows and changes what runs, from another process, and hosts notice. */
import { assertEquals, assertMatch, assertStringIncludes, fail } from "@std/assert";
import { AsyncEventConfig, AsyncNotice, LogId, NvmOpcode } from "../../src/protocol/nvme.ts";
import { StatusCode } from "../../src/protocol/nvme_status.ts";
import { Cli } from "./cli_fixture.ts";
import { logPageSqe, namespaceBlocks } from "./raw_commands.ts";
import { RawHost } from "./raw_host.ts";
import { ioSqe } from "./raw_pdus.ts";
import { Served } from "./served.ts";
import { BLOCK_BYTES, Host, json, notice, show } from "./served_host.ts";

const NQN = "nqn.2026-11.io.test:served";

Deno.test("umpath target shows a target with its controllers and what they have done", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN, words: ["--ram", "1M", "--serial", "A 1"] });
  using host = await Host.connect(target, { portal: 1 });
  assertEquals(await host.tryWrite(0), 0);
  await host.io.succeed("Read", ioSqe(NvmOpcode.READ, 0, { blocks: 2, bytes: 2 * BLOCK_BYTES }));
  const { nqn, serial, pid, listeners, controllers } = await show(target);
  assertEquals([nqn, serial, pid], [NQN, "A 1", target.pid]);
  assertEquals(listeners.map(({ ana, controllers }) => [ana, controllers]), [["optimized", 0], ["optimized", 1]]);
  const { kind, listener, queues, reads, writes, readBytes, writeBytes, errors } = controllers[0]!;
  assertEquals([kind, listener, queues, errors], ["nvm", target.portals[1]!.words, 1, 0]);
  assertEquals([reads, readBytes, writes, writeBytes], [1, 2 * BLOCK_BYTES, 1, BLOCK_BYTES]);
  const text = (await target.target("show")).stdout;
  for (const words of [NQN, `process ${target.pid}`, target.portals[0]!.words, "1 I/O queue"]) {
    assertStringIncludes(text.replace(/ +/g, " "), words);
  }
  assertMatch((await target.target("list")).stdout, /^nqn\S+ +process \d+ +1 namespace +\S+ \S+ +1 controller\n$/);
});

Deno.test("umpath target ana changes the state of a listener: its hosts are told and refused, others go on", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN });
  using one = await Host.connect(target);
  using other = await Host.connect(target, { portal: 1 });
  for (
    const [state, refusal] of [
      ["inaccessible", StatusCode.ANA_INACCESSIBLE],
      ["persistent-loss", StatusCode.ANA_PERSISTENT_LOSS],
      ["change", StatusCode.ANA_TRANSITION],
      ["non-optimized", 0],
    ] as const
  ) {
    const event = await one.awaitEvents(AsyncEventConfig.ANA_CHANGE_NOTICES);
    const { listener } = json(await target.target("ana", target.portals[0]!.words, state, "--json"));
    assertEquals((listener as { ana: string }).ana, state);
    assertEquals(await notice(one.admin, event), AsyncNotice.ANA_CHANGE);
    await one.admin.succeed("Get Log Page", logPageSqe(LogId.ASYMMETRIC_NAMESPACE_ACCESS, 64));
    assertEquals([await one.tryWrite(0), await other.tryWrite(0)], [refusal, 0], state);
    assertEquals((await show(target)).listeners.map(({ ana }) => ana), [state, "optimized"]);
  }
});

Deno.test("umpath target resize: hosts are told, and have as many blocks", async () => {
  await using cli = new Cli();
  const words = ["--ram", "4M", "--namespace", `${cli.folder}/b.img,size=4M`];
  await using target = await Served.start(cli, { nqn: NQN, words });
  using host = await Host.connect(target);
  for (const nsid of [1, 2]) {
    for (const mebibytes of [8, 2]) {
      const event = await host.awaitEvents(AsyncEventConfig.NAMESPACE_ATTRIBUTE_NOTICES);
      const { namespace } = json(await target.target("resize", `${nsid}`, `${mebibytes}M`, "--shrink", "--json"));
      assertEquals((namespace as { sizeBytes: number }).sizeBytes, mebibytes << 20);
      assertEquals(await notice(host.admin, event), AsyncNotice.NAMESPACE_ATTRIBUTE_CHANGED);
      const { data } = await host.admin.succeed("Get Log Page", logPageSqe(LogId.CHANGED_NAMESPACE_LIST, 4096));
      assertEquals([...new Uint32Array(data.buffer)].slice(0, 2), [nsid, 0]);
      const blocks = mebibytes * 256;
      assertEquals(await namespaceBlocks(host.admin, nsid), blocks);
      assertEquals([await host.tryWrite(blocks - 1, nsid), await host.tryWrite(blocks, nsid)], [
        0,
        StatusCode.LBA_OUT_OF_RANGE,
      ]);
    }
  }
  assertEquals(Deno.statSync(`${cli.folder}/b.img`).size, 2 << 20);
});

Deno.test("umpath target listener remove ends what came there and nothing else; add brings it back", async () => {
  await using cli = new Cli();
  await using target = await Served.start(cli, { nqn: NQN });
  const [first, second] = target.portals;
  using lost = await Host.connect(target);
  using kept = await Host.connect(target, { portal: 1 });
  assertEquals((await target.target("listener", "remove", first!.words)).code, 0);
  await Promise.all([lost.admin.untilClosed(2000), lost.io.untilClosed(2000)]);
  assertEquals(await kept.tryWrite(0), 0);
  await RawHost.open(first!).then(() => fail("It still listens"), () => {});
  const again = await target.target("listener", "remove", first!.words);
  assertEquals(again.code, 3);
  assertStringIncludes(again.stderr, `No listener "${first!.words}" is there`);
  const { listener } = json(await target.target("listener", "add", `${first!.words},ana=non-optimized`, "--json"));
  assertEquals(listener, { traddr: first!.hostname, trsvcid: first!.port, ana: "non-optimized", controllers: 0 });
  using back = await Host.connect(target);
  assertEquals(await back.tryWrite(0), 0);
  assertEquals((await target.target("listener", "add", second!.words)).code, 7);
});

Deno.test("umpath target names the one that is meant where several run, and stop ends it in order", async () => {
  await using cli = new Cli();
  await using first = await Served.start(cli, { nqn: NQN });
  await using second = await Served.start(cli, { nqn: `${NQN}2` });
  const either = await first.target("stop");
  assertEquals(either.code, 2);
  assertMatch(
    either.stderr,
    /Several targets are running on this host: .*\nhint: Choose one with --nqn NQN or --pid NUMBER/,
  );
  using host = await Host.connect(first);
  const { stopped } = json(await first.target("stop", "--nqn", NQN, "--json"));
  assertEquals(stopped, { nqn: NQN, pid: first.pid });
  await host.admin.untilClosed(1000);
  await first.end();
  assertEquals((await second.target("list")).stdout.split("\n").length, 2);
  await second.end();
  assertEquals([(await second.target("list")).stderr, (await second.target("stop")).code], [
    "No target is running\n",
    3,
  ]);
});
