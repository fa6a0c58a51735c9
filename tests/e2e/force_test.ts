/** Devices that are taken away although they are in use: by force, and at the end of the daemon. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Cli, until } from "./cli_fixture.ts";
import { loopTest, toolTest } from "./loop_case.ts";
import { Served } from "./served.ts";

const HOST = [
  ...["--hostnqn", "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100"],
  ...["--hostid", "3f0e0d0c-0b0a-4908-8706-050403020100"],
];

/** A target with two portals and a loop device over both. */
async function withDevice(body: (rig: { cli: Cli; served: Served; device: string }) => Promise<void>): Promise<void> {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: "nqn.2026-11.io.test:force" });
  const paths = served.portals.flatMap(({ words }) => ["-p", words]);
  const { code, stdout, stderr } = await cli.run("attach", served.nqn, ...paths, "--device", "loop", ...HOST);
  assertEquals(code, 0, stderr);
  try {
    await body({ cli, served, device: stdout.trim() });
  } finally {
    await cli.run("detach", "--all", "--force");
  }
}

function logOf(cli: Cli): string {
  return Deno.readTextFileSync(`${cli.runDir}/daemon.log`);
}

for (const fault of ["*:drop,op=io", "*:half-open"]) {
  for (
    const [io, words] of [["read", "if=DEVICE of=/dev/null iflag=direct"], [
      "write",
      "if=/dev/zero of=DEVICE oflag=direct",
    ]]
  ) {
    loopTest(`detach --force fails a ${io} that hangs at once, at a target with ${fault}`, async () => {
      await withDevice(async ({ cli, served, device }) => {
        await served.fault(fault);
        const dd = cli.runProgram(["sh", "-c", `exec dd bs=4k count=1 ${words!.replace("DEVICE", device)}`]);
        await until(() =>
          /^ *[1-9]/.test(Deno.readTextFileSync(`/sys/block/${device.slice(5)}/inflight`).replace(/^ *0 +/, ""))
        );
        const { code, stderr } = await cli.run("detach", "--force", "force-n1");
        assertEquals(code, 0, stderr);
        assertStringIncludes((await dd).stderr, "Input/output error");
        const log = logOf(cli);
        assertMatch(log, /force-n1: [12] requests? failed, unanswered: the volume is detached by force\n/);
        // No deadline of a step had to end it.
        assert(!/Cannot drain|timed out|a queue of its device ended/.test(log), log);
      });
    });
  }
}

toolTest(
  "SIGTERM writes back what is dirty before the device goes, and tells of the mount",
  ["mkfs.ext4"],
  async () => {
    await withDevice(async ({ cli, served, device }) => {
      const folder = `${cli.folder}/mnt`;
      Deno.mkdirSync(folder);
      const ok = async (...words: [string, ...string[]]) => {
        const { code, stdout, stderr } = await cli.runProgram(words);
        assertEquals(code, 0, `${words.join(" ")}: ${stderr}`);
        return stdout;
      };
      await ok("mkfs.ext4", "-q", device);
      await ok("mount", device, folder);
      const pid = cli.daemonPid()!;
      try {
        Deno.writeTextFileSync(`${folder}/file`, "written just now");
        Deno.kill(pid, "SIGTERM");
        Deno.kill(pid, "SIGTERM");
        await until(() => cli.daemonPid() === null);
      } finally {
        await ok("umount", folder);
      }
      const log = logOf(cli);
      assertStringIncludes(log, `${device} is mounted on "${folder}"`);
      assertMatch(log, new RegExp(`${device} is written back\\n`));
      assertMatch(log, /The daemon, process \d+, ends: SIGTERM\n$/);
      const paths = served.portals.flatMap(({ words }) => ["-p", words]);
      const again = (await cli.run("attach", served.nqn, ...paths, "--device", "loop", ...HOST)).stdout.trim();
      await ok("mount", again, folder);
      try {
        assertEquals(Deno.readTextFileSync(`${folder}/file`), "written just now");
      } finally {
        await ok("umount", folder);
      }
    });
  },
);
