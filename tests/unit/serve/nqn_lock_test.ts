import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { runDirAt } from "../../../src/rpc/run_dir.ts";
import { NqnLock, removeLeftLocks } from "../../../src/serve/nqn_lock.ts";
import { TempFolder } from "./temp_folder.ts";

const NQN = "nqn.2026-11.io.test:one";

Deno.test("NqnLock is held once for each NQN, and names who has it", async () => {
  using folder = new TempFolder();
  const dir = runDirAt(folder.path);
  const lock = await NqnLock.take(dir, NQN);
  const other = await NqnLock.take(dir, `${NQN}2`);
  const error = await assertRejects(() => NqnLock.take(dir, NQN), UmpathError);
  assertEquals(error.code, "in-use");
  assertEquals(error.message, `Cannot serve "${NQN}": the target of process ${Deno.pid} on this host serves it`);
  assertMatch(error.hint!, new RegExp(`umpath target stop --pid ${Deno.pid}$`));
  lock[Symbol.dispose]();
  using _again = await NqnLock.take(dir, NQN);
  other[Symbol.dispose]();
  assertEquals(folder.names.length, 1);
});

Deno.test("NqnLock.take() waits for one that is about to go", async () => {
  using folder = new TempFolder();
  const dir = runDirAt(folder.path);
  const first = await NqnLock.take(dir, NQN);
  const taking = NqnLock.take(dir, NQN);
  first[Symbol.dispose]();
  using _second = await taking;
  assertEquals(folder.names.length, 1);
});

Deno.test("NqnLock.take() does not take a file that its owner removes at the same moment", async () => {
  using folder = new TempFolder();
  const dir = runDirAt(folder.path);
  const { tryLockSync } = Deno.FsFile.prototype;
  let locks = 0;
  Deno.FsFile.prototype.tryLockSync = function (...args) {
    if (locks++ === 0) { for (const name of folder.names) Deno.removeSync(`${folder.path}/${name}`); }
    return tryLockSync.apply(this, args);
  };
  try {
    using _lock = await NqnLock.take(dir, NQN);
    assertEquals([locks, folder.names.length], [2, 1], "the file that is locked is the one that others find");
  } finally {
    Deno.FsFile.prototype.tryLockSync = tryLockSync;
  }
});

Deno.test("removeLeftLocks() removes what dead targets have left, and nothing that is held or not theirs", async () => {
  using folder = new TempFolder();
  const dir = runDirAt(folder.path);
  using _held = await NqnLock.take(dir, NQN);
  const [held] = folder.names;
  folder.write(`serve-${"0".repeat(32)}.lock`, "1\n");
  folder.write("daemon.lock", "1\n");
  removeLeftLocks(dir);
  assertEquals(folder.names, ["daemon.lock", held!].sort());
});
