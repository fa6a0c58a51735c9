/**
 * The packed binary: that it needs nothing but the kernel and libc, and passes everything through as a program should.
 * The first half packs a small program of the product's shape, the second runs dist/umpath itself.
 */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { findProgram, type Method, pack } from "../../scripts/build.ts";
import { compile } from "../../scripts/build_compile.ts";
import { exists } from "../../scripts/build_tool.ts";
import { writeFixture } from "./binary_fixture.ts";
import { Stopwatch } from "./stopwatch.ts";

const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const UMPATH = `${ROOT}/dist/umpath`;
const SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

const folder = Deno.makeTempDirSync({ prefix: "umpath-binary-" });
const emptyFolder = `${folder}/empty`;
let method: Method = "graft";
const fixture = `${folder}/packed/fixture`;

Deno.test.beforeAll(async () => {
  Deno.chmodSync(folder, 0o755); // a test runs it as another user
  for (const name of ["empty", "packed", "source"]) Deno.mkdirSync(`${folder}/${name}`);
  const program = await writeFixture(`${folder}/source`);
  method = await pack({ program, output: fixture, method: "auto" });
  Deno.removeSync(`${folder}/source`, { recursive: true });
});

Deno.test.afterAll(() => Deno.removeSync(folder, { recursive: true }));

interface Run {
  env?: Record<string, string>;
  cwd?: string;
  stdin?: Uint8Array<ArrayBuffer>;
}

interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command line with no environment but `env`, in an empty folder. */
async function run([path, ...args]: [string, ...string[]], options: Run = {}): Promise<Result> {
  const command = new Deno.Command(path, {
    args,
    clearEnv: true,
    env: { ...options.env },
    cwd: options.cwd ?? emptyFolder,
    stdin: options.stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  if (options.stdin) {
    const writer = child.stdin.getWriter();
    await writer.write(options.stdin);
    await writer.close();
  }
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a shell script whose "$0" is the packed program. */
async function shell(script: string, env: Record<string, string> = { PATH: SYSTEM_PATH }): Promise<Result> {
  return await run(["/bin/sh", "-c", script, fixture], { env });
}

/** What a command that succeeds prints. */
async function output(args: string[], options: Run = {}): Promise<string> {
  const { code, stdout, stderr } = await run([fixture, ...args], options);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return stdout.trimEnd();
}

function canDo(path: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(path, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}
const canUnshare = canDo("unshare", "-mn", "true");
const canForbidMemfdExec = canDo("unshare", "-pf", "--mount-proc", "sh", "-c", "echo 2 > /proc/sys/vm/memfd_noexec");
const isRoot = Deno.uid() === 0;

Deno.test("packed program: code, lazy code, library and workers are inside", async () => {
  assertEquals(await output(["version"]), "1.2.3");
  assertMatch(await output(["lazy"]), /LazyThing 1$/);
  assertEquals(await output(["ffi"]), "42 6");
  assertEquals(await output(["worker", "3"]), "[2,[41,42,2],[41,42,2],[41,42,2]]");
});

Deno.test("packed program: arguments arrive as they were given", async () => {
  const odd = ["--", "-A", "--help", "", "a b", "é\n", "--version", "-", "-q", "--v8-flags=--help", "--", "*"];
  assertEquals(JSON.parse(await output(["args", ...odd])), odd);
  const many = Array.from({ length: 20_000 }, (_, i) => String(i));
  assertEquals(JSON.parse(await output(["args", ...many])).length, many.length);
  const long = "x".repeat(120_000);
  assertEquals(JSON.parse(await output(["args", long])), [long]);
});

Deno.test("packed program: exit codes are its own", async () => {
  assertEquals((await run([fixture, "exit", "42"])).code, 42);
  assertEquals((await run([fixture, "no-such-command"])).code, 2);
  const thrown = await run([fixture, "throw"]);
  assertEquals(thrown.code, 1);
  assertStringIncludes(thrown.stderr, "boom");
  assertStringIncludes(thrown.stderr, "run"); // the function that threw
});

Deno.test("packed program: standard input, output and terminal", async () => {
  assertEquals(await output(["stdin"], { stdin: new Uint8Array(1_000_000) }), "1000000");
  assertEquals((await shell('"$0" exit 5 <&- >&- 2>&-')).code, 5);
  assertEquals((await shell('script -qec "$0 version" /dev/null')).stdout.trim(), "1.2.3");
});

Deno.test("packed program: a closed standard output can be told from one that takes words", async () => {
  if (method === "compile") return;
  const flags = async (redirections: string) => {
    const { code, stderr } = await shell(`"$0" flags ${redirections}`);
    assertEquals(code, 0, stderr);
    return parseInt(stderr, 8) & 0o3;
  };
  const [READ_ONLY, WRITE_ONLY, READ_WRITE] = [0, 1, 2];
  assertEquals(await flags(">&-"), READ_ONLY);
  assertEquals(await flags("<&- >&-"), READ_ONLY);
  assertEquals(await flags("> /dev/null"), WRITE_ONLY);
  assertEquals(await flags("<&- > /dev/null"), WRITE_ONLY);
  assertEquals(await flags("1<> /dev/null"), READ_WRITE);
});

Deno.test("umpath says that its standard output is closed or open for reading only, with exit code 6", async () => {
  for (const redirection of [">&-", "<&- >&-", "1< /dev/null"]) {
    if (method === "compile" && redirection !== "1< /dev/null") continue;
    for (const words of ["--help", "version", "list --json"]) {
      const script = `UMPATH_RUN_DIR=${folder}/run; export UMPATH_RUN_DIR; ${UMPATH} ${words} ${redirection}`;
      const { code, stderr } = await shell(script);
      assertEquals(code, 6, `${words} ${redirection}: ${stderr}`);
      assertStringIncludes(stderr, "Cannot write the output: standard output is closed or open for reading only");
    }
  }
  assertEquals((await shell(`${UMPATH} version 1<> /dev/null`)).code, 0);
});

Deno.test("packed program: inherited descriptors keep their numbers, embedded ones do not leak", async () => {
  const { stdout } = await shell('exec "$0" fds 3</etc/hostname');
  assertStringIncludes(stdout, "3 /etc/hostname\n");
  const child = await shell('"$0" spawn a "b c" ""');
  assertEquals(child.stdout.trim(), '0 ["a","b c",""]');
});

Deno.test("packed program: it is itself, and can start itself", async () => {
  const self = JSON.parse(await output(["self"]));
  assertEquals(self.execPath, fixture);
  assertEquals(self.comm, "fixture");
  assertEquals(self.cmdline, [fixture, "self"]);
  assertEquals(await output(["spawn", "daemon", "--x"]), '0 ["daemon","--x"]');
  assertEquals(await output(["node", "daemon", "--x"]), '["daemon","--x"]');
  assertEquals(await output(["daemon"]), "started");
});

for (const name of ["deno", "node", "dx", "foodx", "dnx", "denort"]) {
  Deno.test(`packed program: works under the name "${name}"`, async () => {
    const link = `${folder}/packed/${name}`;
    Deno.symlinkSync(fixture, link);
    try {
      assertEquals((await run([link, "args", "--foo"])).stdout.trim(), '["--foo"]');
      const renamed = await run(["/bin/bash", "-c", `exec -a ${name} "$0" args --foo`, fixture]);
      assertEquals(renamed.stdout.trim(), '["--foo"]');
    } finally {
      Deno.removeSync(link);
    }
  });
}

Deno.test("packed program: signals reach it, in the same process", async () => {
  const child = new Deno.Command(fixture, { args: ["signal"], clearEnv: true, stdout: "piped" }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(Number(new TextDecoder().decode(value)), child.pid);
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 7);
  await reader.cancel();

  const hungUp = new Deno.Command(fixture, { args: ["signal"], clearEnv: true, stdout: "piped" }).spawn();
  const first = hungUp.stdout.getReader();
  await first.read();
  hungUp.kill("SIGHUP");
  assertEquals((await hungUp.status).signal, "SIGHUP");
  await first.cancel();
});

Deno.test("packed program: the runtime's variables change nothing and stay visible to the program", async () => {
  const hostile = {
    COMPLETE: "bash",
    DENO_AUTH_TOKENS: "x",
    DENO_CERT: "/nope",
    DENO_COMPAT: "1",
    DENO_COVERAGE_DIR: `${folder}/coverage`,
    DENO_DIR: "/nope",
    DENO_TLS_CA_STORE: "bad",
    DENO_V8_FLAGS: "--help",
    NODE_CHANNEL_FD: "99",
    NODE_EXTRA_CA_CERTS: "/nope",
    NODE_OPTIONS: "--require /nope.js",
    NODE_V8_COVERAGE: `${folder}/coverage`,
    OTEL_DENO: "true",
  };
  assertEquals(await output(["version"], { env: hostile }), "1.2.3");
  assertEquals(await output(["worker"], { env: hostile }), "[2,[41,42,2]]");
  assertEquals(await output(["node", "a"], { env: hostile }), '["a"]');
  assertEquals(JSON.parse(await output(["env"], { env: hostile })), hostile);
  assert(!exists(`${folder}/coverage`), "a coverage folder was made");
});

Deno.test("packed program: an empty environment stays empty", async () => {
  assertEquals(await output(["env"]), "{}");
});

Deno.test("packed program: files of the current folder are not read, and none is made", async () => {
  const hostile = `${folder}/hostile`;
  Deno.mkdirSync(`${hostile}/node_modules`, { recursive: true });
  const files = {
    "deno.json": '{"imports":{"x":}',
    "package.json": "{bad",
    ".npmrc": "garbage = ${NOPE",
    ".env": "A=${",
  };
  for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(`${hostile}/${name}`, text);
  assertEquals(await output(["ffi"], { cwd: hostile, env: { HOME: hostile } }), "42 6");
  assertEquals([...Deno.readDirSync(hostile)].length, Object.keys(files).length + 1);
  assertEquals([...Deno.readDirSync(emptyFolder)], []);
});

Deno.test("packed program: many at once", async () => {
  const all = await Promise.all(Array.from({ length: 10 }, () => output(["ffi"])));
  assertEquals(new Set(all), new Set(["42 6"]));
});

Deno.test("packed program: few descriptors and a small stack are enough", async () => {
  assertEquals((await shell('ulimit -n 48; "$0" ffi')).stdout.trim(), "42 6");
  assertEquals((await shell('ulimit -s 512; "$0" ffi')).stdout.trim(), "42 6");
  assertEquals((await shell('setarch -R "$0" ffi')).stdout.trim(), "42 6");
});

Deno.test({ name: "packed program: any user may run it", ignore: !isRoot }, async () => {
  const { stdout, stderr } = await shell('setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$0" ffi', {
    PATH: SYSTEM_PATH,
  });
  assertEquals([stdout.trim(), stderr], ["42 6", ""]);
});

Deno.test({ name: "packed program: no network is needed (unshare)", ignore: !canUnshare }, async () => {
  assertEquals((await shell('unshare -n "$0" worker')).stdout.trim(), "[2,[41,42,2]]");
});

// deno compile unpacks the library into a folder that must allow to execute it; the graft does not.
Deno.test({ name: "packed program: read-only root and noexec /tmp (unshare)", ignore: !canUnshare }, async () => {
  if (method === "compile") return;
  const root = `${folder}/root`;
  Deno.mkdirSync(root);
  const script = `set -e
    mount --make-rprivate /
    mount --bind / ${root} && mount -o remount,ro,bind ${root}
    mount -t proc proc ${root}/proc
    mount -t tmpfs -o noexec,size=1m none ${root}/tmp
    mkdir ${root}/tmp/packed && mount --bind "$(dirname "$0")" ${root}/tmp/packed
    exec env -i /usr/sbin/chroot ${root} /tmp/packed/fixture worker`;
  const result = await shell(`exec unshare -m sh -c '${script.replaceAll("'", "'\\''")}' "$0"`);
  assertEquals(result, { code: 0, stdout: "[2,[41,42,2]]\n", stderr: "" });
});

Deno.test(
  { name: "packed program: executable memory files forbidden (unshare)", ignore: !canForbidMemfdExec },
  async () => {
    const script = 'echo 2 > /proc/sys/vm/memfd_noexec && exec "$0" ffi';
    assertEquals((await shell(`unshare -pf --mount-proc sh -c '${script}' "$0"`)).stdout.trim(), "42 6");
  },
);

Deno.test({ name: "packed program: says so when /proc is missing (unshare)", ignore: !canUnshare }, async () => {
  if (method === "compile") return;
  const { code, stderr } = await shell(`unshare -m sh -c 'mount -t tmpfs none /proc && exec "$0" version' "$0"`);
  assertEquals(code, 6);
  assertMatch(stderr, /^umpath: Cannot start: \/proc\/self\/fd is not accessible\nhint: Mount \/proc/);
});

Deno.test("packed program: says which limit of the shell is too low, with exit code 6", async () => {
  if (method === "compile") return;
  const addresses = await shell('ulimit -v 30000000; exec "$0" version');
  const needed =
    "umpath: Cannot start: address space is limited to 28 GiB (ulimit -v), and 64 GiB are needed\nhint: Raise";
  assertEquals([addresses.code, addresses.stderr.slice(0, needed.length)], [6, needed]);
  const few = await shell('ulimit -v 500000; exec "$0" version');
  assertStringIncludes(few.stderr, "address space is limited to 488 MiB (ulimit -v)");
  const enough = await shell('ulimit -v 68000000; exec "$0" worker');
  assertEquals(enough, { code: 0, stdout: "[2,[41,42,2]]\n", stderr: "" });
  const files = await shell('ulimit -f 1; exec "$0" version');
  assertEquals(files.code, 6);
  assertStringIncludes(
    files.stderr,
    "umpath: Cannot start: the limit on file sizes (ulimit -f) is below what its memory",
  );
});

Deno.test("umpath serve says that its file is larger than the limit of the shell", async () => {
  const words = "--size 64M --nqn nqn.2026-11.io.test:large --listen 127.0.0.1:0";
  const script = `ulimit -f 20000; exec ${UMPATH} serve ${folder}/large.img ${words}`;
  const { code, stderr } = await shell(`UMPATH_RUN_DIR=${folder}/run; export UMPATH_RUN_DIR; ${script}`);
  assertEquals(code, 6, stderr);
  assertStringIncludes(stderr, "file too large");
  assertStringIncludes(stderr, "hint: Choose a smaller size, or raise the limit on the size of files: ulimit -f");
});

Deno.test("pack() makes the same bytes from another folder", async () => {
  const programs = await Promise.all([writeFixture(`${folder}/a`), writeFixture(`${folder}/deeper/b`)]);
  for (const program of programs) {
    await pack({ program, output: `${program.root}/packed`, method: "graft" });
  }
  const [a, b] = programs.map((program) => Deno.readFileSync(`${program.root}/packed`));
  assert(a && b && a.length === b.length && a.every((byte, i) => byte === b[i]), "the two programs differ");
  for (const name of ["a", "deeper"]) Deno.removeSync(`${folder}/${name}`, { recursive: true });
});

Deno.test("pack() refuses what would not work in one file, and leaves the old program", async () => {
  const program = await writeFixture(`${folder}/bad`);
  const main = `${program.root}/main.ts`, old = `${program.root}/packed`;
  const good = Deno.readTextFileSync(main);
  Deno.writeTextFileSync(old, "old");
  const refused = async (addition: string, message: string, parts = program) => {
    Deno.writeTextFileSync(main, good + addition);
    await assertRejects(() => pack({ program: parts, output: old, method: "graft" }), Error, message);
    assertEquals(Deno.readTextFileSync(old), "old");
    assertEquals([...Deno.readDirSync(program.root)].filter(({ name }) => name.includes("part")), []);
  };
  await refused("await 1;\n", "must not await at the top level");
  await refused("console.log(import.meta.url);\n", "import.meta.url may only stand in");
  await refused("console.log(import.meta.dirname);\n", "import.meta");
  await refused('console.log(new URL("./nothing.bin", import.meta.url));\n', "neither a worker nor an asset");
  await refused("", "nothing refers to it", { ...program, assets: [...program.assets, "deno.json"] });
  await refused('import "./missing.ts";\n', "missing.ts");
  Deno.removeSync(program.root, { recursive: true });
});

Deno.test("compile() accepts the module graph of the product", async () => {
  // Any executable does for this: deno appends the program to it.
  const before = Deno.env.get("DENORT_BIN");
  Deno.env.set("DENORT_BIN", "/bin/true");
  try {
    await compile(await findProgram(ROOT), `${folder}/compiled`);
  } finally {
    if (before === undefined) Deno.env.delete("DENORT_BIN");
    else Deno.env.set("DENORT_BIN", before);
  }
  assert(Deno.statSync(`${folder}/compiled`).size > 0);
});

Deno.test("umpath version prints the version of deno.json", async () => {
  const { version } = JSON.parse(Deno.readTextFileSync(`${ROOT}/deno.json`));
  for (const env of [{}, { PATH: SYSTEM_PATH }]) {
    const { code, stdout, stderr } = await run([UMPATH, "version"], { env });
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, version);
    const json = JSON.parse((await run([UMPATH, "version", "--json"], { env })).stdout);
    assertEquals([json.schemaVersion, json.version], [1, version]);
  }
});

Deno.test("umpath --help names the commands", async () => {
  const { code, stdout, stderr } = await run([UMPATH, "--help"]);
  assertEquals([code, stderr], [0, ""]);
  for (const command of ["attach", "detach", "list", "show", "daemon", "version"]) {
    assertStringIncludes(stdout, command);
  }
});

Deno.test("umpath with an unknown command exits with 2 and says which", async () => {
  const { code, stdout, stderr } = await run([UMPATH, "no-such-command"]);
  assertEquals([code, stdout], [2, ""]);
  assertStringIncludes(stderr, "no-such-command");
});

Deno.test("umpath attach to a closed port exits with 4, in words, and leaves no daemon behind", async () => {
  const runDir = `${folder}/run`;
  const path = "127.0.0.1:1";
  const args = ["attach", "nqn.2026-11.io.test:x", "-p", path, "--device", "none"];
  const took = new Stopwatch();
  const { code, stdout, stderr } = await run([UMPATH, ...args], { env: { PATH: SYSTEM_PATH, UMPATH_RUN_DIR: runDir } });
  assertEquals([code, stdout], [4, ""], stderr);
  assertStringIncludes(stderr, path);
  assertMatch(stderr, /refused/i);

  took.assertWithin(15_000);
  for (let i = 0; i < 100 && daemonsIn(runDir).length > 0; i++) await new Promise((done) => setTimeout(done, 100));
  assertEquals(daemonsIn(runDir), []);
});

/** The processes that were started with `runDir` as their run folder. */
function daemonsIn(runDir: string): string[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => {
    try {
      return /^\d+$/.test(name) &&
        Deno.readTextFileSync(`/proc/${name}/environ`).split("\0").includes(`UMPATH_RUN_DIR=${runDir}`);
    } catch {
      return false; // gone, or not ours
    }
  });
}
