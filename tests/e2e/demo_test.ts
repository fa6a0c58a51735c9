import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { DemoReport } from "../../src/demo/report.ts";
import { eventually } from "./host/host_fixture.ts";
import { Cli, type Result, UMPATH } from "./cli_fixture.ts";
import { loopTest } from "./loop_case.ts";

const STEPS = [400, 402, 404, 406, 408, 410, 412];
/** Of one demo; it takes a quarter of this. */
const DEMO_MS_MAX = 60_000;
const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] as const;

/** Runs the demo as a user without rights, who need not reach the repository. */
function demoAsNobody(cli: Cli, env: Record<string, string>, ...words: string[]): Promise<Result> {
  if (Deno.uid() !== 0) return cli.runProgram([UMPATH, "demo", ...words], env);
  Deno.chmodSync(cli.folder, 0o755);
  const program = `${cli.folder}/umpath`;
  Deno.copyFileSync(UMPATH, program);
  return cli.runProgram([...NOBODY, program, "demo", ...words], env);
}

/** What of a demo is still there: its folders in a folder of ours, mounts and processes. Others may run a demo, too. */
function leftOf(folder: string, pids: readonly number[] = []): string[] {
  const folders = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const mounts = Deno.readTextFileSync("/proc/self/mountinfo").split("\n").filter((line) => line.includes(folder));
  return [...folders, ...mounts, ...pids.filter(isAlive).map((pid) => `process ${pid}`)];
}

/** A folder that demos make theirs in. */
function temporaryFolder(cli: Cli): string {
  const folder = `${cli.folder}/tmp`;
  Deno.mkdirSync(folder);
  Deno.chmodSync(folder, 0o777);
  return folder;
}

function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch {
    return false;
  }
}

function reportOf({ code, stdout, stderr }: Result): DemoReport {
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

/** What holds of a demo on any kind of device. */
function assertTold(report: DemoReport): void {
  assertEquals(report.steps.map(({ step }) => step), STEPS);
  assert(report.claimsChecked > 10, `${report.claimsChecked} claims`);
  assertEquals(report.paths.length, 2);
  for (const path of report.paths) assert(path.reads > 0 && path.writes > 0, `${path.traddr} was used`);
  assertEquals(report.paths.map(({ reconnects }) => reconnects), [0, 1]);
  assertEquals(report.loss.path, 1);
  const { before, during, after } = report.load;
  for (const window of [before, during, after]) assert(window.reads > 0 && window.writes > 0);
  assert(during.longestPauseMs < 2_000, `the application stood still for ${during.longestPauseMs} ms`);
  assert(report.verifiedBytes > 0);
}

loopTest(
  "umpath demo takes the whole road over a kernel device, survives a path's loss and leaves nothing",
  async () => {
    await using cli = new Cli();
    const TMPDIR = temporaryFolder(cli);
    const report = reportOf(await cli.runProgram([UMPATH, "demo", "--json"], { TMPDIR }));
    assertTold(report);
    assert(report.driver !== "none" && report.device !== null, "root has a kernel device here");
    assertEquals(report.lacking.map(({ driver }) => driver), report.driver === "ublk" ? [] : ["ublk"]);
    assertEquals(leftOf(TMPDIR), []);
  },
);

Deno.test("umpath demo drives the volume in user space for a user without rights, and says why", async () => {
  await using cli = new Cli();
  const TMPDIR = temporaryFolder(cli);
  const { code, stdout, stderr } = await demoAsNobody(cli, { TMPDIR });
  assertEquals(code, 0, stderr);
  for (const name of ["connect", "identify", "transfer", "submit"]) assertMatch(stdout, new RegExp(`^ +${name} `, "m"));
  assertStringIncludes(stdout, "Not on this host");
  assertStringIncludes(stdout, "in user space");
  assertMatch(stdout, /Done: \d+ claims were checked, every figure was measured, and nothing is left behind\n$/);
  assertEquals(leftOf(TMPDIR), []);
});

Deno.test("umpath demo that is interrupted under load takes everything back and ends as the signal says", async () => {
  await using cli = new Cli();
  const TMPDIR = temporaryFolder(cli);
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", UMPATH_RUN_DIR: cli.runDir, TMPDIR };
  const io = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const demo = new Deno.Command(UMPATH, { args: ["demo"], clearEnv: true, env, ...io }).spawn();
  const timer = setTimeout(() => demo.kill("SIGKILL"), DEMO_MS_MAX);
  const stderr = new Response(demo.stderr).text();
  let told = "";
  for await (const text of demo.stdout.pipeThrough(new TextDecoderStream())) {
    told += text;
    if (told.includes("An application reads and writes") && !told.includes("Ending")) {
      demo.kill("SIGINT");
      break;
    }
  }
  const { code } = await demo.status;
  clearTimeout(timer);
  assertEquals(code, 130, await stderr);
  assertStringIncludes(await stderr, "Nothing is left behind");
  const pids = [...told.matchAll(/process (\d+)/g)].map(([, pid]) => Number(pid));
  await eventually("nothing is left", () => leftOf(TMPDIR, pids).length === 0);
});

for (const last of ["A storage system", "/dev/", "An application reads and writes"]) {
  loopTest(
    `umpath demo whose reader leaves after "${last}" takes everything back and does not end with 0`,
    async () => {
      await using cli = new Cli();
      const TMPDIR = temporaryFolder(cli);
      const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", UMPATH_RUN_DIR: cli.runDir, TMPDIR };
      const io = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
      const demo = new Deno.Command(UMPATH, { args: ["demo"], clearEnv: true, env, ...io }).spawn();
      const timer = setTimeout(() => demo.kill("SIGKILL"), DEMO_MS_MAX);
      const stderr = new Response(demo.stderr).text();
      let told = "";
      for await (const bytes of demo.stdout) {
        told += new TextDecoder().decode(bytes);
        if (told.includes(last)) break; // which closes our end of the pipe
      }
      const { code } = await demo.status;
      clearTimeout(timer);
      assertEquals(code, 141, await stderr);
      assertStringIncludes(await stderr, "The demo ended early: its reader has left");
      const pids = [...told.matchAll(/process (\d+)/g)].map(([, pid]) => Number(pid));
      assertEquals(leftOf(TMPDIR, pids), []);
    },
  );
}

Deno.test("umpath demo refuses a device that this host cannot make with the code that says so", async () => {
  await using cli = new Cli();
  const TMPDIR = temporaryFolder(cli);
  const { code, stderr } = await demoAsNobody(cli, { TMPDIR }, "--device", "loop");
  assertEquals(code, 6, stderr);
  assertMatch(stderr, /loop device/);
  assertEquals(leftOf(TMPDIR), []);
});
