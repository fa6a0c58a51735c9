/** What `umpath serve` does to keep its storage its own: who else uses it, what it is known by, and how it fails. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { NvmOpcode } from "../../src/protocol/nvme.ts";
import { StatusCode } from "../../src/protocol/nvme_status.ts";
import { Cli, until } from "./cli_fixture.ts";
import { loopTest, toolTest } from "./loop_case.ts";
import { RawHost } from "./raw_host.ts";
import { ioSqe } from "./raw_pdus.ts";
import { Served } from "./served.ts";
import { BLOCK_BYTES, code, Host, show } from "./served_host.ts";

const NQN = "nqn.2026-11.io.test:storage";
const HERE = ["--nqn", NQN, "--listen", "127.0.0.1:0"];
const MIB = 1 << 20;

/** A program that has to succeed; what it prints. */
async function ok(cli: Cli, ...words: [string, ...string[]]): Promise<string> {
  const { code, stdout, stderr } = await cli.runProgram(words);
  assertEquals(code, 0, `${words.join(" ")}: ${stderr}`);
  return stdout.trim();
}

/** A loop device over a file, and perhaps a mount of it, until the test ends. */
class Loop implements AsyncDisposable {
  private constructor(readonly cli: Cli, readonly file: string, readonly device: string) {}

  static async over(cli: Cli, name: string): Promise<Loop> {
    const file = `${cli.folder}/${name}`;
    Deno.writeFileSync(file, new Uint8Array(16 * MIB));
    return new Loop(cli, file, await ok(cli, "losetup", "--find", "--show", file));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cli.runProgram(["umount", this.device]);
    await ok(this.cli, "losetup", "--detach", this.device);
  }
}

function makeFile(cli: Cli, name: string, bytes: number): string {
  const path = `${cli.folder}/${name}`;
  using file = Deno.openSync(path, { create: true, write: true });
  file.truncateSync(bytes);
  return path;
}

async function uuidOf(target: Served): Promise<string> {
  return (await show(target)).namespaces[0]!.uuid;
}

// ── who else uses it ──────────────────────────────────────────────────────────────────────────────────────────────────

toolTest("umpath serve never writes to a block device that is mounted", ["mkfs.ext4", "losetup"], async () => {
  await using cli = new Cli();
  await using loop = await Loop.over(cli, "disk.img");
  const folder = `${cli.folder}/mounted`;
  Deno.mkdirSync(folder);
  await ok(cli, "mkfs.ext4", "-q", loop.device);
  await ok(cli, "mount", loop.device, folder);
  const refused = await cli.run("serve", loop.device, ...HERE);
  assertEquals([refused.code, refused.stdout], [7, ""], refused.stderr);
  assertStringIncludes(refused.stderr, `Cannot serve "${loop.device}": it is mounted on "${folder}"`);
  await using _reader = await Served.start(cli, { nqn: NQN, words: [loop.device, "--read-only"] });
});

toolTest(
  "umpath serve keeps a block device from being mounted for as long as it serves it",
  ["mkfs.ext4"],
  async () => {
    await using cli = new Cli();
    await using loop = await Loop.over(cli, "disk.img");
    await ok(cli, "mkfs.ext4", "-q", loop.device);
    const mount = () => cli.runProgram(["mount", loop.device, "/mnt"]);
    {
      await using target = await Served.start(cli, { nqn: NQN, words: [loop.device] });
      assertNotEquals((await mount()).code, 0);
      assertEquals((await show(target)).namespaces[0]!.storage, "block-device");
      const again = await cli.run("serve", loop.device, "--nqn", `${NQN}2`, "--listen", "127.0.0.1:0");
      assertEquals(again.code, 7, again.stderr);
      assertMatch(again.stderr, /it is open in .*umpath.* \(process \d+\)/);
    }
    const mounted = await mount();
    await cli.runProgram(["umount", "/mnt"]);
    assertEquals(mounted.code, 0, "once it is not served any more, it can be mounted");
  },
);

loopTest(
  "umpath serve refuses a file that is behind a loop device, and the file behind one that it serves",
  async () => {
    await using cli = new Cli();
    await using loop = await Loop.over(cli, "disk.img");
    Deno.symlinkSync(loop.file, `${cli.folder}/link`);
    const refused = await cli.run("serve", `${cli.folder}/link`, ...HERE);
    assertEquals(refused.code, 7, refused.stderr);
    assertStringIncludes(refused.stderr, `Cannot serve "${cli.folder}/link": it is behind ${loop.device}`);
    await using target = await Served.start(cli, { nqn: NQN, words: [loop.file, "--read-only"] });
    const busy = await cli.run("serve", loop.device, "--nqn", `${NQN}2`, "--listen", "127.0.0.1:0");
    assertEquals(busy.code, 7, "its file is served already");
    const uuid = await uuidOf(target);
    await target.end();
    await using device = await Served.start(cli, { nqn: NQN, words: [loop.device] });
    assertEquals(await uuidOf(device), uuid, "they are one storage");
  },
);

// ── what it is known by ───────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("umpath serve: a file keeps its UUID whatever serves it, and a copy of it has another", async () => {
  await using cli = new Cli();
  const file = makeFile(cli, "a.img", MIB);
  const identity = async (nqn: string, path: string) => {
    await using target = await Served.start(cli, { nqn, words: [path] });
    const { serial, namespaces } = await show(target);
    return { serial, uuid: namespaces[0]!.uuid, nguid: namespaces[0]!.nguid };
  };
  const first = await identity(NQN, file);
  Deno.renameSync(file, `${cli.folder}/b.img`);
  assertEquals(await identity(`${NQN}2`, `${cli.folder}/b.img`), first);
  await ok(cli, "cp", `${cli.folder}/b.img`, `${cli.folder}/c.img`);
  const copy = await identity(NQN, `${cli.folder}/c.img`);
  for (const name of ["serial", "uuid", "nguid"] as const) assertNotEquals(copy[name], first[name], name);
});

Deno.test("Two targets of one name pass for two: no UUID, no serial number and no CNTLID is the same", async () => {
  await using cli = new Cli();
  await using elsewhere = new Cli();
  const targets = [
    await Served.start(cli, { nqn: NQN, words: ["--ram", "1M"] }),
    await Served.start(elsewhere, { nqn: NQN, words: ["--ram", "1M"] }),
  ];
  await using _ends = { [Symbol.asyncDispose]: async () => void await Promise.all(targets.map((one) => one.end())) };
  const seen = new Map<string, Set<unknown>>();
  for (const target of targets) {
    using host = await RawHost.controller(target.portals[0]!, NQN);
    const { serial, namespaces } = await show(target);
    const { uuid, nguid } = namespaces[0]!;
    for (const [name, value] of Object.entries({ serial, uuid, nguid, cntlid: host.cntlid })) {
      seen.set(name, (seen.get(name) ?? new Set()).add(value));
    }
  }
  for (const [name, values] of seen) assertEquals(values.size, 2, name);
});

Deno.test("umpath serve --uuid gives memory the UUID that it had before, and uuid= one namespace of several", async () => {
  await using cli = new Cli();
  const [one, two] = ["5a3c1c1e-0000-4000-8000-000000000001", "5a3c1c1e-0000-4000-8000-000000000002"];
  const words = ["--ram", "1M", "--uuid", one!, "--namespace", `ram=1M,uuid=${two}`];
  const uuids = async () => {
    await using target = await Served.start(cli, { nqn: NQN, words });
    const { serial, namespaces } = await show(target);
    return [serial, ...namespaces.map(({ uuid }) => uuid)];
  };
  const first = await uuids();
  assertEquals(first.slice(1), [one, two]);
  assertEquals(await uuids(), first);
});

Deno.test("umpath serve refuses an NQN that another target of this host serves, and has it after that is killed", async () => {
  await using cli = new Cli();
  await using first = await Served.start(cli, { nqn: NQN, words: ["--ram", "1M"] });
  const refused = await cli.run("serve", "--ram", "1M", ...HERE);
  assertEquals([refused.code, refused.stdout], [7, ""]);
  assertStringIncludes(
    refused.stderr,
    `Cannot serve "${NQN}": the target of process ${first.pid} on this host serves it`,
  );
  assertStringIncludes(refused.stderr, `umpath target stop --pid ${first.pid}`);
  await first.kill();
  await using _second = await Served.start(cli, { nqn: NQN, words: ["--ram", "1M"] });
});

// ── sizes and space ───────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("umpath serve --size makes an empty file as large as it says, and leaves no file that it could not make", async () => {
  await using cli = new Cli();
  const empty = makeFile(cli, "empty.img", 0);
  await using target = await Served.start(cli, { nqn: NQN, words: [empty, "--size", "1M"] });
  assertEquals((await show(target)).namespaces[0]!.sizeBytes, MIB);
  const huge = `${cli.folder}/huge.img`;
  const failed = await cli.run("serve", huge, "--size", "7P", "--nqn", `${NQN}2`, "--listen", "127.0.0.1:0");
  assertEquals(failed.code, 6);
  assertEquals([...Deno.readDirSync(cli.folder)].map(({ name }) => name).sort(), ["empty.img", "run"]);
});

Deno.test("umpath serve says how many bytes of a file it leaves out, and what would serve them", async () => {
  await using cli = new Cli();
  for (
    const [bytes, words, said] of [
      [10 * 4096 + 512, [], "The last 512 bytes .* are not served, .*; --block-size 512 serves them too"],
      [5000, [], "The last 904 bytes .* are not served, .*; --block-size 512 leaves out 392 only"],
      [5000, ["--block-size", "512"], "The last 392 bytes .* are not served, as they are no whole block of 512"],
    ] as const
  ) {
    const file = makeFile(cli, `${bytes}.img`, bytes);
    await using target = await Served.start(cli, { nqn: NQN, words: [file, ...words] });
    assertMatch(await target.end(), new RegExp(`warn serve: ${said}$`, "m"));
  }
});

loopTest(
  "umpath serve tells of a full disk under its file: at the start that it may come, then that it is there",
  async () => {
    await using cli = new Cli();
    const folder = `${cli.folder}/tiny`;
    Deno.mkdirSync(folder);
    await ok(cli, "mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder);
    await using _unmount = { [Symbol.asyncDispose]: async () => void await ok(cli, "umount", folder) };
    const file = makeFile(cli, "tiny/sparse.img", 8 * MIB);
    await using target = await Served.start(cli, { nqn: NQN, words: [file] });
    using host = await Host.connect(target);
    const statuses: number[] = [];
    for (let lba = 0; lba < 8 * MIB / BLOCK_BYTES; lba++) statuses.push(await host.tryWrite(lba));
    assertEquals(new Set(statuses), new Set([0, StatusCode.CAPACITY_EXCEEDED]));
    const log = await target.end();
    assertMatch(log, /warn serve: Writes to ".*sparse.img" can fail for want of space: 8 MiB of it/);
    assertMatch(log, /error serve: Namespace 1: cannot write ".*sparse.img": no space left on device/);
    assert(log.split("cannot write").length < 20, "a few lines stand for all");
  },
);

loopTest("umpath serve says that its run folder is full or read-only before it says that it serves", async () => {
  await using cli = new Cli();
  Deno.mkdirSync(cli.runDir);
  await ok(cli, "mount", "-t", "tmpfs", "-o", "size=16K,mode=0700", "tmpfs", cli.runDir);
  await using _unmount = { [Symbol.asyncDispose]: async () => void await ok(cli, "umount", cli.runDir) };
  await cli.runProgram(["dd", "if=/dev/zero", `of=${cli.runDir}/fill`, "bs=4K"]);
  for (const why of ["no space left on device", "read-only file system"]) {
    const { code, stdout, stderr } = await cli.run("serve", "--ram", "1M", ...HERE);
    assertEquals([code, stdout], [6, ""], stderr);
    assertEquals(stderr.split("\n")[0], `umpath: Cannot write to run folder "${cli.runDir}": ${why}`);
    assertEquals([...Deno.readDirSync(cli.runDir)].map(({ name }) => name), ["fill"]);
    await ok(cli, "mount", "-o", "remount,ro", cli.runDir);
  }
});

Deno.test("umpath serve notices that another program has cut its file, and that it was mended", async () => {
  await using cli = new Cli();
  const file = makeFile(cli, "disk.img", 4 * MIB);
  const logged = `${cli.folder}/serve.log`;
  const launcher = ["/bin/sh", "-c", `exec "$@" 2> ${logged}`, "sh"];
  await using target = await Served.start(cli, { nqn: NQN, words: [file], launcher });
  const log = () => Deno.readTextFileSync(logged);
  using host = await Host.connect(target);
  Deno.truncateSync(file, MIB);
  const read = await host.io.command(ioSqe(NvmOpcode.READ, 512, { blocks: 1, bytes: BLOCK_BYTES }));
  assertEquals(code(read.status), StatusCode.UNRECOVERED_READ_ERROR);
  await until(() => log().includes("another program has cut it"));
  assertMatch(log(), /error serve: Namespace 1: ".*disk.img" has only 1 MiB of its 4 MiB: another program has cut it/);
  Deno.truncateSync(file, 4 * MIB);
  await until(() => log().includes("again"));
  assertMatch(log(), /info serve: Namespace 1: ".*disk.img" has its 4 MiB again/);
});

Deno.test("umpath target resize shrinks only with --shrink, which says what is lost", async () => {
  await using cli = new Cli();
  const file = makeFile(cli, "disk.img", 4 * MIB);
  await using target = await Served.start(cli, { nqn: NQN, words: [file] });
  const refused = await target.target("resize", "1", "1M");
  assertEquals([refused.code, Deno.statSync(file).size], [2, 4 * MIB]);
  assertStringIncludes(refused.stderr, "Cannot shrink namespace 1 from 4 MiB to 1 MiB: its last 3 MiB would be lost");
  const said = async (...words: string[]) => (await target.target("resize", "1", ...words)).stderr;
  assertEquals(await said("1M", "--shrink"), "namespace 1: resized to 1 MiB; its last 3 MiB are lost\n");
  assertEquals(Deno.statSync(file).size, MIB);
  assertEquals(await said("1M"), "namespace 1: resized to 1 MiB (no change)\n");
  assertEquals(await said("2M"), "namespace 1: resized to 2 MiB\n");
});

loopTest("umpath target resize of a block device says that only hosts see it", async () => {
  await using cli = new Cli();
  await using loop = await Loop.over(cli, "disk.img");
  await using target = await Served.start(cli, { nqn: NQN, words: [loop.device] });
  const refused = await target.target("resize", "1", "8M");
  assertEquals(refused.code, 2);
  assertStringIncludes(refused.stderr, "hosts would no longer reach its last 8 MiB");
  const { stderr } = await target.target("resize", "1", "8M", "--shrink");
  assertEquals(stderr, "namespace 1: resized to 8 MiB for hosts; the block device keeps its own size\n");
  const larger = await target.target("resize", "1", "32M");
  assertStringIncludes(larger.stderr, `the block device "${loop.device}" has 16 MiB`);
});
