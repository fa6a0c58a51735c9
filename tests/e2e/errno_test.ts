/** What an application gets for a status that the storage answers with: the way from NVMe to the errno, all of it. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { loopTest } from "./loop_case.ts";
import { LoopRig } from "./loop_rig.ts";

type Op = "read" | "write";

/** A status, and the words of the errno that both the device and the file behind it give. */
const ROWS: readonly (readonly [status: string, op: Op, words: string])[] = [
  ["unrecovered-read-error", "read", "No data available"],
  ["write-fault", "write", "No data available"],
  ["access-denied", "read", "No data available"],
  ["capacity-exceeded", "write", "No space left on device"],
  ["lba-out-of-range", "read", "Remote I/O error"],
  ["lba-out-of-range", "write", "Remote I/O error"],
  ["namespace-not-ready+dnr", "read", "Remote I/O error"],
  ["command-interrupted+dnr", "write", "Remote I/O error"],
  ["internal-error+dnr", "read", "Input/output error"],
  ["data-transfer-error+dnr", "write", "Input/output error"],
  ["guard-check-error", "read", "Invalid or incomplete multibyte or wide character"],
  ["reservation-conflict", "write", "Invalid exchange"],
  ["transient-transport-error+dnr", "read", "Link has been severed"],
  ["invalid-field", "write", "Operation not supported"],
  ["internal-path-error+dnr", "read", "Input/output error"],
];

/** What dd says of one direct transfer of 4 KiB; "" if it went well. */
async function transfer(rig: LoopRig, file: string, op: Op): Promise<string> {
  const [words, flag] = op === "read"
    ? [[`if=${file}`, "of=/dev/null"], "iflag=direct"]
    : [["if=/dev/zero", `of=${file}`, "conv=notrunc"], "oflag=direct"];
  const { code, stderr } = await rig.run("dd", ...words, "bs=4096", "count=1", "status=none", flag);
  assertEquals(code === 0, stderr === "");
  return stderr.trim();
}

/** Each transfer while all commands of its kind get that status. */
async function transferWith(rig: LoopRig, status: string, { file, op }: { file: string; op: Op }): Promise<string> {
  await rig.target.fault(`*:status=${status},op=${op}`);
  const words = await transfer(rig, file, op);
  await rig.target.fault("clear");
  return words;
}

loopTest("A status of the storage is the errno that reads and writes of the device fail with", async () => {
  await using rig = await LoopRig.start();
  const device = await rig.device();
  const file = `${rig.cli.runDir}/loop/${rig.files()[0]}`;
  const seen = [];
  for (const [status, op] of ROWS) {
    const onDevice = await transferWith(rig, status, { file: device, op });
    seen.push([status, op, onDevice.slice(onDevice.lastIndexOf(": ") + 2)]);
  }
  assertEquals(seen, ROWS.map((row) => [...row]), rig.log());
  // The block layer has no status for EROFS: it is EIO past it, as with the Linux NVMe host.
  const protectedly = "namespace-write-protected";
  assertStringIncludes(await transferWith(rig, protectedly, { file, op: "write" }), "Read-only file system");
  assertStringIncludes(await transferWith(rig, protectedly, { file: device, op: "write" }), "Input/output error");
  // None of them was a matter of the paths, and nothing stays.
  assertEquals([await transfer(rig, device, "read"), await transfer(rig, device, "write")], ["", ""]);
  const { paths } = await rig.volume();
  assertEquals(paths.map(({ state }) => state), ["live", "live"]);
});

loopTest("A status that may pass by itself is not seen, on whichever path it comes", async () => {
  await using rig = await LoopRig.start();
  const device = await rig.device();
  for (const status of ["internal-error", "namespace-not-ready", "internal-path-error", "transient-transport-error"]) {
    for (const op of ["read", "write"] as const) {
      await rig.target.fault(`*:status=${status},op=${op},count=2`);
      assertEquals(await transfer(rig, device, op), "", `${status} on a ${op}\n${rig.log()}`);
      await rig.target.fault("clear");
    }
  }
});
