import { assertEquals, assertStringIncludes } from "@std/assert";
import { ignoredWords } from "../../../src/cli/ignored_options.ts";
import { serveControl } from "../../../src/host/control_server.ts";
import { Output } from "../../../src/cli/output.ts";
import { runProgram } from "../../../src/cli/program.ts";
import { ensureRunDir } from "../../../src/host/run_dir.ts";
import { refusingHandlers } from "../host/handlers.ts";
import { VOLUME } from "./volume_fixture.ts";

Deno.test("ignoredWords() names what differs from the volume that is there, and what is in force", () => {
  assertEquals(ignoredWords({ timeouts: {} }, VOLUME), null);
  const same = { name: "vol-n1", device: "ublk", policy: "round-robin", queues: 2, depth: 128 } as const;
  assertEquals(ignoredWords({ ...same, timeouts: { ioTimeoutMs: 30_000, writeHoldMs: null } }, VOLUME), null);
  const auto = { timeouts: { writeHoldMs: "auto" } } as const;
  assertEquals(ignoredWords(auto, { ...VOLUME, writeHoldAuto: true }), null);
  assertStringIncludes(ignoredWords(auto, VOLUME) ?? "", "--write-hold auto (it is off) is ignored");
  assertEquals(ignoredWords({ device: "auto", readOnly: false, timeouts: {} }, { ...VOLUME, readOnly: true }), null);
  assertEquals(
    ignoredWords({ depth: 64, timeouts: {} }, VOLUME),
    "vol-n1 was attached before and stays as it is: --depth 64 (it is 128) is ignored",
  );
  const digests = { headerDigest: true, dataDigest: true, timeouts: {} };
  assertEquals(ignoredWords(digests, { ...VOLUME, headerDigest: true, dataDigest: true }), null);
  assertEquals(
    ignoredWords({ ...digests, dataDigest: false }, { ...VOLUME, dataDigest: true }),
    "vol-n1 was attached before and stays as it is: --hdr-digest (it has none) is ignored",
  );
  const other = { name: "x", device: "none", policy: "other", queues: 1, readOnly: true } as const;
  assertEquals(
    ignoredWords({ ...other, timeouts: { ioTimeoutMs: null, reconnectDelayMaxMs: 60_000 } }, VOLUME),
    "vol-n1 was attached before and stays as it is: --name x (it is vol-n1), --device none (it is ublk), " +
      "--policy other (it is round-robin), --queues 1 (it is 2), --read-only (it takes writes), " +
      "--io-timeout off (it is 30s) and --reconnect-delay-max 1m (it is 10s) are ignored; umpath set changes settings and times",
  );
});

/** What `umpath attach` says on stderr when its daemon answers with VOLUME, which is new or was there before. */
async function attachWords(created: boolean, ...args: string[]): Promise<string> {
  const runPath = Deno.makeTempDirSync({ prefix: "umpath-ignored-" });
  const before = Deno.env.get("UMPATH_RUN_DIR");
  Deno.env.set("UMPATH_RUN_DIR", runPath);
  let stderr = "";
  const keep = (bytes: Uint8Array) => {
    stderr += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  const output = new Output({ json: false, stdout: (bytes) => bytes.length, stderr: keep });
  const attach = () => Promise.resolve({ volume: VOLUME, device: "/dev/ublkb0", created });
  const handlers = refusingHandlers({ attach });
  try {
    await using _server = serveControl({ socketPath: ensureRunDir().socketPath, handlers });
    const host = ["--hostnqn", "nqn.2026-11.io.test:host", "--hostid", VOLUME.uuid];
    const words = ["attach", VOLUME.nqn, "-p", "127.0.0.1", ...host, ...args];
    await runProgram(words, { output, exitCode: 0, setVerbose: () => {} });
  } finally {
    if (before === undefined) Deno.env.delete("UMPATH_RUN_DIR");
    else Deno.env.set("UMPATH_RUN_DIR", before);
    Deno.removeSync(runPath, { recursive: true });
  }
  return stderr;
}

Deno.test("umpath attach warns of options that a volume which is there already does not take, and of no defaults", async () => {
  assertEquals(await attachWords(true, "--device", "none", "--depth", "64"), "");
  assertEquals(await attachWords(false), "");
  assertEquals(await attachWords(false, "--device", "ublk", "--keep-alive", "5s"), "");
  assertEquals(
    await attachWords(false, "--device", "none", "--keep-alive=3s"),
    "umpath: warning: vol-n1 was attached before and stays as it is: --device none (it is ublk) and --keep-alive 3s " +
      "(it is 5s) are ignored; umpath set changes settings and times\n",
  );
});
