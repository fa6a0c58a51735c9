import { assert, assertEquals, assertMatch } from "@std/assert";
import { lastWords } from "../../../src/host/daemon/daemon_spawn.ts";
import { runDirAt } from "../../../src/rpc/run_dir.ts";

const FIXTURE = new URL("./daemon_spawn_fixture.ts", import.meta.url).pathname;

async function ensure(runPath: string, end = ""): Promise<{ code: number; answer: Record<string, unknown> }> {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", FIXTURE, "ensure"],
    env: { UMPATH_RUN_DIR: runPath, UMPATH_FIXTURE_END: end, JOURNAL_STREAM: "8:1", SECRET_OF_CALLER: "x" },
    stderr: "inherit",
  }).output();
  return { code, answer: JSON.parse(new TextDecoder().decode(stdout)) };
}

async function withRunPath(body: (runPath: string) => Promise<void>): Promise<void> {
  const runPath = Deno.makeTempDirSync({ prefix: "umpath-spawn-" });
  try {
    await body(runPath);
  } finally {
    Deno.removeSync(runPath, { recursive: true });
  }
}

/** Ends the daemon and waits until its process is gone. */
async function end(pid: number): Promise<void> {
  Deno.kill(pid, "SIGTERM");
  for (let tries = 0; tries < 250 && processState(pid) !== null; tries++) {
    await new Promise((later) => setTimeout(later, 20));
  }
  assertEquals(processState(pid), null);
}

function processState(pid: number): { parent: number; session: number; terminal: number } | null {
  try {
    const [state, parent, , session, terminal] = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
    return state === "Z" ? null : { parent: Number(parent), session: Number(session), terminal: Number(terminal) };
  } catch {
    return null;
  }
}

Deno.test("ensureDaemon() starts one daemon with a session and a log of its own", async () => {
  await withRunPath(async (runPath) => {
    const { code, answer } = await ensure(runPath);
    assertEquals(code, 0);
    const pid = answer.pid as number;
    try {
      assertEquals(processState(pid)?.session, pid);
      assertEquals(processState(pid)?.terminal, 0);
      const descriptors = [0, 1, 2].map((fd) => Deno.readLinkSync(`/proc/${pid}/fd/${fd}`));
      assertEquals(descriptors.map((path) => path.replace(/:.*/, "")), ["/dev/null", "/dev/null", "pipe"]);
      assertEquals(Deno.readLinkSync(`/proc/${pid}/cwd`), "/");
      const environment = Deno.readTextFileSync(`/proc/${pid}/environ`);
      assert(!environment.includes("JOURNAL_STREAM="), "its stderr is not the journal");
      assert(!environment.includes("SECRET_OF_CALLER="), "what the caller keeps is not the daemon's");
      assertEquals((await ensure(runPath)).answer.pid, pid, "a second one uses the first");
    } finally {
      await end(pid);
    }
  });
});

Deno.test("ensureDaemon() of several at once ends with one daemon", async () => {
  await withRunPath(async (runPath) => {
    const results = await Promise.all(Array.from({ length: 4 }, () => ensure(runPath)));
    const pids = new Set(results.map(({ answer }) => answer.pid));
    for (const pid of pids) if (typeof pid === "number") await end(pid);
    assertEquals(results.map(({ code }) => code), [0, 0, 0, 0]);
    assertEquals(pids.size, 1);
  });
});

Deno.test("ensureDaemon() says why a daemon died, with its exit code", async () => {
  await withRunPath(async (runPath) => {
    const lacks = await ensure(runPath, "host-lacks");
    assertEquals(lacks.code, 6);
    const message = "Cannot start the umpath daemon: cannot open the ring: not here";
    assertEquals(lacks.answer, { code: "host-lacks", message, hint: "Get one" });
    const silent = await ensure(runPath, "silent");
    assertEquals([silent.code, silent.answer.code], [1, "bug"]);
    assertEquals(silent.answer.message, "Cannot start the umpath daemon: it ended without a word, with exit code 1");
  });
});

Deno.test("ensureDaemon() ends a daemon that does not answer in time, and says so", async () => {
  for (const end of ["hang", "mute"]) {
    await withRunPath(async (runPath) => {
      const { code, answer } = await ensure(runPath, end);
      assertEquals([code, answer.code], [8, "timed-out"], end);
      const words =
        /^Cannot start the umpath daemon: it does not answer after 3s and was ended; its log (is empty|ends)/;
      assertMatch(answer.message as string, words);
      assertEquals(/its log is empty$/.test(answer.message as string), end === "hang", answer.message as string);
      const pid = Number(Deno.readTextFileSync(`${runPath}/fixture.pid`));
      for (let tries = 0; tries < 250 && processState(pid) !== null; tries++) {
        await new Promise((later) => setTimeout(later, 20));
      }
      assertEquals(processState(pid), null, "it is ended");
    });
  }
});

Deno.test("ensureDaemon() leaves the log alone that other daemons have written", async () => {
  await withRunPath(async (runPath) => {
    const { logPath } = runDirAt(runPath);
    Deno.writeTextFileSync(logPath, "x".repeat(1024 * 1024 + 1));
    const { answer } = await ensure(runPath, "host-lacks");
    assertEquals(Deno.statSync(logPath).size, 1024 * 1024 + 1);
    assertMatch(answer.message as string, /cannot open the ring/);
  });
});

Deno.test("ensureDaemon() says which signal ended a daemon that was silent", async () => {
  await withRunPath(async (runPath) => {
    const { code, answer } = await ensure(runPath, "killed");
    assertEquals([code, answer.code], [1, "bug"]);
    assertEquals(answer.message, "Cannot start the umpath daemon: it ended without a word, by SIGKILL");
  });
});

Deno.test("lastWords() takes the error if there is one, else the end of the log", () => {
  assertEquals(lastWords(""), { message: null, hint: undefined });
  assertEquals(lastWords("a\nb\n"), { message: "a\nb", hint: undefined });
  const lines = Array.from({ length: 20 }, (_, i) => `line ${i}`).join("\n");
  assertEquals(lastWords(lines).message?.split("\n").length, 8);
  const bug = "x\numpath: warning: hot\numpath: a bug in umpath: y is not a function\nhint: report it\n";
  assertEquals(lastWords(bug), { message: "y is not a function", hint: "report it" });
});
