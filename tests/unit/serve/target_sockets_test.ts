import { assertEquals, assertThrows } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { runDirAt } from "../../../src/rpc/run_dir.ts";
import { ANA_CODES, ANA_NAMES, anaCode, anaName } from "../../../src/rpc/ana_names.ts";
import { removeLeftSockets, targetPids, targetSocketPath } from "../../../src/serve/target_sockets.ts";
import { TempFolder } from "./temp_folder.ts";

Deno.test("targetPids() finds the targets of a run folder by their sockets, and nothing else in it", () => {
  using folder = new TempFolder();
  const dir = runDirAt(folder.path);
  assertEquals(targetPids(dir), []);
  for (const pid of [900, 12, 3]) folder.write(targetSocketPath(dir, pid).slice(folder.path.length + 1), "");
  for (const name of ["serve-0.sock", "serve-x.sock", "serve-12.sock.old", "control.sock"]) folder.write(name, "");
  assertEquals(targetPids(dir), [3, 12, 900]);
  assertEquals(targetPids(runDirAt(`${folder.path}/none`)), []);
});

Deno.test("removeLeftSockets() removes the sockets of processes that are gone, and of no others", () => {
  using folder = new TempFolder();
  const dir = runDirAt(folder.path);
  const gone = 2 ** 22 + 1; // no process has a number so high
  for (const pid of [Deno.pid, gone]) folder.write(`serve-${pid}.sock`, "");
  folder.write("control.sock", "");
  removeLeftSockets(dir);
  assertEquals(folder.names, ["control.sock", `serve-${Deno.pid}.sock`]);
});

Deno.test("anaCode() and anaName() are each other's reverse, and refuse what is no state", () => {
  assertEquals(ANA_NAMES.length, 5);
  for (const name of ANA_NAMES) assertEquals([anaName(ANA_CODES[name]), anaCode(name)], [name, ANA_CODES[name]]);
  for (const word of ["Optimized", "", null, 1]) {
    assertThrows(() => anaCode(word), UmpathError, "There is no ANA state");
  }
});
