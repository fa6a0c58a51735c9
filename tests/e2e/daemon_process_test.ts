/** The daemon as a process: what it takes over from its caller, what signals do to it, where its log goes. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { eventually } from "./host/host_fixture.ts";
import { cgroupRoot } from "../../src/host/daemon/daemon_surroundings.ts";
import { Cli, Port, UMPATH, until } from "./cli_fixture.ts";
import { Served } from "./served.ts";

const NQN = "nqn.2026-11.io.test:process";
const HOST = [
  ...["--hostnqn", "nqn.2014-08.org.nvmexpress:uuid:3f0e0d0c-0b0a-4908-8706-050403020100"],
  ...["--hostid", "3f0e0d0c-0b0a-4908-8706-050403020100"],
];

/** A target and a daemon that an attach of it has started. */
async function withDaemon(body: (cli: Cli, pid: number) => Promise<void>): Promise<void> {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "16M"] });
  const { code, stderr } = await cli.run("attach", NQN, "-p", served.portals[0]!.words, "--device", "none", ...HOST);
  assertEquals(code, 0, stderr);
  await body(cli, cli.daemonPid()!);
  await cli.run("detach", "--all");
}

async function assertGone(cli: Cli): Promise<void> {
  await until(() => cli.daemonPid() === null);
  assertEquals(cli.daemonPid(), null, logOf(cli));
}

/** Waits until a daemon answers. */
async function answers(cli: Cli): Promise<number> {
  await until(() => cli.daemonPid() !== null && isSocket(`${cli.runDir}/control.sock`));
  const { code, stderr } = await cli.run("list");
  assertEquals(code, 0, stderr);
  return cli.daemonPid()!;
}

function isSocket(path: string): boolean {
  try {
    return Deno.statSync(path).isSocket === true;
  } catch {
    return false;
  }
}

function logOf(cli: Cli, name = "daemon.log"): string {
  try {
    return Deno.readTextFileSync(`${cli.runDir}/${name}`);
  } catch {
    return "";
  }
}

/** Runs `umpath attach` under a shell that does `before`. */
function attachUnder(cli: Cli, before: string, ...words: string[]) {
  const attach = [UMPATH, "attach", NQN, ...words, "--device", "none", ...HOST];
  return cli.runProgram(["sh", "-c", `${before}; exec "$@"`, "sh", ...attach]);
}

Deno.test("a daemon that attach starts has nothing of its caller's: files, folder, umask, session, variables", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "16M"] });
  const lockPath = `${cli.folder}/lock`;
  const shell = `exec 9>${lockPath}; flock 9; cd ${cli.folder}; umask 0; ulimit -S -n 500; SECRET=x; export SECRET`;
  const { code, stderr } = await attachUnder(cli, shell, "-p", served.portals[0]!.words);
  assertEquals(code, 0, stderr);
  // Who serialises his scripts by a lock gets it once the command has ended.
  const { code: locked } = await cli.runProgram(["flock", "-n", lockPath, "true"]);
  assertEquals(locked, 0, "the lock of the caller is free");
  const pid = cli.daemonPid()!;
  const open = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => linkOf(`/proc/${pid}/fd/${name}`));
  assert(!open.includes(lockPath), open.join(" "));
  assertEquals(Deno.readLinkSync(`/proc/${pid}/cwd`), "/");
  assertMatch(Deno.readTextFileSync(`/proc/${pid}/status`), /^Umask:\s+0077$/m);
  assert(!Deno.readTextFileSync(`/proc/${pid}/environ`).includes("SECRET="));
  const [soft, hard] = /Max open files +(\d+) +(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/limits`))!.slice(1);
  assert(Number(soft) > Number(hard) - 100, `${soft} of ${hard} open files`);
  const [, , session] = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ").slice(1);
  assertEquals(Number(session), pid);
  await cli.run("detach", "--all");
  await assertGone(cli);
});

Deno.test("umpath attach names the limit of the shell that is too low, with exit code 6", async () => {
  await using cli = new Cli();
  const { code, stderr } = await attachUnder(cli, "ulimit -n 70", "-p", "127.0.0.1:1");
  assertEquals(code, 6, stderr);
  assertStringIncludes(stderr, "Cannot start the umpath daemon: open files are limited to 70, and at least ");
  assertStringIncludes(stderr, "ulimit -n");
});

Deno.test("no signal ends a daemon without a word, and SIGUSR1 makes its log tell more", async () => {
  await withDaemon(async (cli, pid) => {
    const harmless = ["SIGUSR2", "SIGQUIT", "SIGALRM", "SIGHUP", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGXCPU"] as const;
    for (const signal of harmless) {
      Deno.kill(pid, signal);
      await eventually(`the log tells of ${signal}`, () => logOf(cli).includes(`${signal}: `));
    }
    await cli.runProgram(["sh", "-c", `kill -40 ${pid}; kill -XFSZ ${pid}`]);
    Deno.kill(pid, "SIGUSR1");
    await eventually("the level is debug", () => logOf(cli).includes("the log level is debug from now on"));
    Deno.kill(pid, "SIGUSR1");
    await eventually("the level is info", () => logOf(cli).includes("the log level is info from now on"));
    assertEquals((await cli.run("list")).code, 0);
    assertEquals(cli.daemonPid(), pid);
  });
});

Deno.test("a daemon logs its end and the reason, and a second SIGTERM changes nothing", async () => {
  await withDaemon(async (cli) => {
    await cli.run("detach", "--all");
    await assertGone(cli);
    assertMatch(logOf(cli), /The daemon, process \d+, ends: the last volume is gone\n$/);
  });
  await withDaemon(async (cli, pid) => {
    Deno.kill(pid, "SIGTERM");
    Deno.kill(pid, "SIGTERM");
    await assertGone(cli);
    const log = logOf(cli);
    assertMatch(log, /SIGTERM: ending\n/);
    assertMatch(log, /: detached\n/);
    assertMatch(log, /The daemon, process \d+, ends: SIGTERM\n$/);
  });
});

Deno.test("a daemon whose only attach fails does not log that a volume is gone", async () => {
  await using cli = new Cli();
  await using port = new Port(() => new Promise(() => {}));
  const attach = cli.run("attach", NQN, "-p", port.path, "--device", "none", "--connect-timeout", "3s", ...HOST);
  await eventually("the attach is on its way", () => port.accepted > 0);
  // The daemon asks itself whether it may leave, and may not yet.
  assertEquals((await cli.run("detach", "no-such-volume")).code, 3);
  assertEquals((await attach).code, 4);
  await assertGone(cli);
  assertMatch(logOf(cli), /The daemon, process \d+, ends: nothing is attached\n$/);
});

Deno.test("a daemon makes its socket and its log anew when somebody has removed them", async () => {
  await withDaemon(async (cli, pid) => {
    for (let round = 0; round < 2; round++) {
      Deno.removeSync(`${cli.runDir}/control.sock`);
      Deno.removeSync(`${cli.runDir}/daemon.log`);
      if (round === 0) Deno.kill(pid, "SIGHUP");
      const { code, stdout, stderr } = await cli.run("list");
      assertEquals(code, 0, stderr);
      assertStringIncludes(stdout, NQN);
      await eventually("the log is there", () => logOf(cli).includes("control.sock") || logOf(cli).includes("SIGHUP"));
    }
    assertEquals(cli.daemonPid(), pid);
  });
});

Deno.test("umpath list says so when the daemon that has the lock does not listen", async () => {
  await withDaemon(async (cli, pid) => {
    Deno.kill(pid, "SIGSTOP");
    Deno.removeSync(`${cli.runDir}/control.sock`);
    const { code, stderr } = await cli.run("list");
    Deno.kill(pid, "SIGCONT");
    assertEquals(code, 8, stderr);
    assertStringIncludes(stderr, `Cannot talk to the umpath daemon, process ${pid}: it does not listen at`);
    assertStringIncludes(stderr, `kill -HUP ${pid}`);
  });
});

Deno.test("a daemon sets its log aside when that is large, and keeps two of them", async () => {
  await using cli = new Cli();
  Deno.mkdirSync(cli.runDir, { mode: 0o700 });
  const logPath = `${cli.runDir}/daemon.log`;
  const old = `${"old".repeat(20)}\n`.repeat(17_189);
  assert(old.length < 1 << 20 && old.length > (1 << 20) - 200);
  Deno.writeTextFileSync(logPath, old);
  Deno.writeTextFileSync(`${logPath}.1`, "older\n");
  Deno.writeTextFileSync(`${logPath}.2`, "oldest\n");
  const daemon = cli.start("daemon", "--log-file", logPath);
  const stderr = new Response(daemon.stderr).text();
  await eventually("it is up", () => logOf(cli).includes(" is up, process "));
  assertEquals(logOf(cli, "daemon.log.1").slice(0, 3), "old");
  assertEquals(logOf(cli, "daemon.log.2"), "older\n");
  assert(logOf(cli).length < 2_000);
  daemon.kill("SIGTERM");
  assertEquals((await daemon.status).code, 0);
  assertStringIncludes(logOf(cli), "ends: SIGTERM");
  assertEquals(await stderr, "");
});

Deno.test("a daemon whose stderr nobody reads any more serves on, and ends in order", async () => {
  await using cli = new Cli();
  const fifo = `${cli.folder}/pipe`;
  await cli.runProgram(["mkfifo", fifo]);
  // A reader that never reads, and a pipe that is full: a write to it waits for ever.
  const start =
    `sleep 60 < ${fifo} > /dev/null 2>&1 & head -c 65536 /dev/zero > ${fifo}; UMPATH_LOG=debug ${UMPATH} daemon 2> ${fifo}; code=$?; ` +
    `kill $!; exit $code`;
  const daemon = cli.runProgram(["sh", "-c", start]);
  const pid = await answers(cli);
  assertEquals((await cli.run("list")).code, 0);
  Deno.kill(pid, "SIGTERM");
  assertEquals((await daemon).code, 0);
});

Deno.test("umpath -v shows what the daemon does for the command, and leaves the daemon's own log as it is", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "16M"] });
  const words = [NQN, "-p", served.portals[0]!.words, "--device", "loop", "--keep-alive", "7s", ...HOST];
  const { code, stderr, stdout } = await cli.run("-v", "attach", ...words);
  assertEquals(code, 0, stderr);
  const device = stdout.trim();
  assertMatch(stderr, / debug path: .*: controller \d+ is up: \d+ I\/O queues of depth \d+, /);
  assertStringIncludes(stderr, "keep alive (KATO) 7s");
  assertMatch(stderr, /command quiesce time \(CQT\) .*, ANA optimized, no digests/);
  assertMatch(stderr, / debug path: .*: I\/O queue 1 is up: depth \d+, .*\(MAXH2CDATA\) \d/);
  assertMatch(stderr, new RegExp(` debug loop: Step "bind ${device}": done, after [0-9.]+ ms`));
  assert(!logOf(cli).includes(" debug "), "the daemon's log has its own level");

  const quiet = await cli.run("list");
  assertEquals(quiet.stderr, "");
  const { stderr: ofList } = await cli.run("-v", "list");
  assertMatch(ofList, / debug request: list/);
  const { stderr: ofDetach } = await cli.run("-v", "detach", "--all");
  assertMatch(ofDetach, new RegExp(` debug loop: Step "unbind ${device}": done`));
  await assertGone(cli);
});

Deno.test("a daemon under UMPATH_LOG=debug says when it tries a lost path again", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "16M"] });
  const words = ["attach", NQN, "-p", served.portals[0]!.words, "--device", "none", ...HOST];
  const { code, stderr } = await cli.runProgram([UMPATH, ...words], { UMPATH_LOG: "debug" });
  assertEquals(code, 0, stderr);
  assertMatch(logOf(cli), / debug path: .*: controller \d+ is up: /);
  await served.kill();
  await eventually("the next attempt is told", () => / the next attempt is in \d+m?s/.test(logOf(cli)));
  await cli.run("detach", "--all", "--force");
  await assertGone(cli);
});

Deno.test("UMPATH_LOG that names no level is told", async () => {
  await using cli = new Cli();
  const daemon = cli.runProgram(["sh", "-c", `exec ${UMPATH} daemon`], { UMPATH_LOG: "bogus" });
  Deno.kill(await answers(cli), "SIGTERM");
  assertStringIncludes((await daemon).stderr, 'UMPATH_LOG="bogus" is no level (error, warn, info, debug)');
});

const MOUNTS = Deno.uid() === 0 ? null : "it takes root";

Deno.test({
  name: `a run folder that cannot be written to is a fault of the host${
    MOUNTS === null ? "" : ` (left out: ${MOUNTS})`
  }`,
  ignore: MOUNTS !== null,
  fn: async () => {
    const cases: [mount: string, prepare: string, words: RegExp][] = [
      ["size=4k,nr_inodes=3", "true", /no space left on device\nhint: Make room there\n/],
      ["size=64k", "head -c 70000 /dev/zero > $D/fill; true", /no space left on device\nhint: Make room there\n/],
      ["size=64k", "mount -o remount,ro $D", /read-only file system\nhint: Mount its file system for writing/],
      ["size=64k", "mkdir -p $D/run/daemon.lock; chmod 700 $D/run", /daemon\.lock" as lock: is a directory/],
      ["size=64k", "mkdir -p $D/run/daemon.log; chmod 700 $D/run", /[Cc]annot log to ".*daemon\.log": is a directory/],
    ];
    for (const [options, prepare, words] of cases) {
      await using cli = new Cli();
      const folder = `${cli.folder}/disk`;
      Deno.mkdirSync(folder);
      const mount = `D=${folder}; mount -t tmpfs -o mode=700,${options} tmpfs $D && mkdir -p -m 700 $D/run; ${prepare}`;
      await cli.runProgram(["sh", "-c", mount]);
      try {
        const attach = [UMPATH, "attach", NQN, "-p", "127.0.0.1:1", "--device", "none", ...HOST] as const;
        const { code, stderr } = await cli.runProgram([...attach], { UMPATH_RUN_DIR: `${folder}/run` });
        assertEquals(code, 6, `${prepare}: ${stderr}`);
        assertMatch(stderr, words);
        assert(!/a bug in umpath|os error|errno|[Rr]emove it|Its log is/.test(stderr), stderr);
      } finally {
        await cli.runProgram(["umount", folder]);
      }
    }
  },
});

function linkOf(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return "";
  }
}

Deno.test("a daemon that is out of descriptors says so with the limit, and still answers", async () => {
  await using cli = new Cli();
  await using served = await Served.start(cli, { nqn: NQN, portals: 16, words: ["--ram", "16M"] });
  const paths = served.portals.flatMap(({ words }) => ["-p", words]);
  const limit = "too many open files: this process may have 110 (ulimit -n, LimitNOFILE=)";
  const first = await attachUnder(cli, "ulimit -n 110", ...paths.slice(0, 2));
  assertEquals(first.code, 0, first.stderr);
  const all = await attachUnder(cli, "true", ...paths);
  assertStringIncludes(all.stderr, limit);
  // Connections that stay open take what is left of the descriptors.
  const clients: Deno.UnixConn[] = [];
  try {
    for (let i = 0; i < 60; i++) {
      clients.push(await Deno.connect({ transport: "unix", path: `${cli.runDir}/control.sock` }));
    }
    const { code, stdout, stderr } = await cli.run("list");
    assertEquals(code, 0, stderr);
    assertStringIncludes(stdout, NQN);
    // Clients that ask for nothing made room for it, not more of them than needed.
    const answered = await Promise.all(clients.map(isAnswered));
    const dropped = answered.filter((isAnswered) => !isAnswered).length;
    assert(dropped < clients.length / 2, `${dropped} of ${clients.length} were dropped`);
  } finally {
    clients.forEach((client) => client.close());
  }
  const detached = await cli.run("detach", "--all");
  assertEquals(detached.code, 0, detached.stderr);
  await assertGone(cli);
  const lines = logOf(cli).split("\n").filter((line) => line.includes("Cannot accept a client"));
  assert(lines.length <= 2, lines.join("\n"));
});

/** False if the daemon has dropped the client. */
async function isAnswered(client: Deno.UnixConn): Promise<boolean> {
  try {
    await client.write(new TextEncoder().encode('{"id":1,"method":"info"}\n'));
    return await client.read(new Uint8Array(65536)) !== null;
  } catch {
    return false;
  }
}

const NAMESPACES = Deno.uid() === 0 ? null : "it takes root";

Deno.test({
  name: `umpath attach tells of a daemon in another network namespace${
    NAMESPACES === null ? "" : ` (left out: ${NAMESPACES})`
  }`,
  ignore: NAMESPACES !== null,
  fn: async () => {
    await withDaemon(async (cli, pid) => {
      const attach = [UMPATH, "attach", NQN, "-p", "127.0.0.1:1", "--device", "none", "--nsid", "2", ...HOST];
      const other = await cli.runProgram(["unshare", "-n", ...attach]);
      const words = `The umpath daemon, process ${pid}, is in another network namespace than this command`;
      assertStringIncludes(other.stderr, words);
      const same = await cli.runProgram(attach as [string, ...string[]]);
      assert(!same.stderr.includes("network namespace"), same.stderr);
    });
  },
});

/** The path of a control group that a test can make, or null. */
function cgroupForTest(): string | null {
  const root = cgroupRoot(Deno.readTextFileSync("/proc/self/mountinfo"));
  const group = `${root}/umpath-test-${Deno.pid}`;
  try {
    Deno.mkdirSync(group);
    Deno.removeSync(group);
    return group;
  } catch {
    return null;
  }
}

const GROUP = cgroupForTest();

Deno.test({
  name: `a daemon outlives the control group of the command that started it${
    GROUP === null ? " (left out: cgroup2 takes no group of ours)" : ""
  }`,
  ignore: GROUP === null,
  fn: async () => {
    Deno.mkdirSync(GROUP!);
    try {
      await using cli = new Cli();
      await using served = await Served.start(cli, { nqn: NQN, portals: 1, words: ["--ram", "16M"] });
      const enter = `echo $$ > ${GROUP}/cgroup.procs`;
      const { code, stderr } = await attachUnder(cli, enter, "-p", served.portals[0]!.words);
      assertEquals(code, 0, stderr);
      // As a service manager that stops the service.
      Deno.writeTextFileSync(`${GROUP}/cgroup.kill`, "1");
      const { stdout } = await cli.run("list");
      assertStringIncludes(stdout, NQN);
      await cli.run("detach", "--all");
      await assertGone(cli);
    } finally {
      Deno.removeSync(GROUP!);
    }
  },
});
