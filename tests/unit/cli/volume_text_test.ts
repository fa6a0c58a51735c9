import { assert, assertEquals, assertMatch } from "@std/assert";
import type { VolumeInfo } from "../../../src/rpc/host_api.ts";
import { volumeDetails, volumeLines } from "../../../src/cli/volume_text.ts";
import { PATH, VOLUME } from "./volume_fixture.ts";

const OTHER = {
  ...{ ...VOLUME, name: "x", nsid: 2, device: null, sizeBytes: 1.5 * 2 ** 40, state: "live" as const, paths: [PATH] },
  ...{ readOnly: true, sizeWarning: "the device has 1 GiB" },
};

Deno.test("volumeLines() gives scripts all of every volume, by name and without a header", () => {
  assertEquals(volumeLines([OTHER, VOLUME]), [
    "vol-n1  /dev/ublkb0    1 GiB  degraded  1/2 paths  round-robin  nqn.2026-11.io.test:vol  1",
    "x       -            1.5 TiB  live      1/1 path   round-robin  nqn.2026-11.io.test:vol  2  read-only size-differs",
  ]);
});

Deno.test("volumeLines() has a header on a terminal, and fits it from 40 columns on", () => {
  assertEquals(volumeLines([VOLUME], 120), [
    "NAME    DEVICE        SIZE  STATE     PATHS      POLICY       NQN                      NSID",
    "vol-n1  /dev/ublkb0  1 GiB  degraded  1/2 paths  round-robin  nqn.2026-11.io.test:vol  1",
  ]);
  assertEquals(volumeLines([VOLUME], 88)[1]!.length <= 88, true);
  assert(volumeLines([VOLUME], 88)[1]!.includes("  …2026-11.io.test:vol  1"), volumeLines([VOLUME], 88)[1]);
  const long = { ...VOLUME, name: "n".repeat(64), nqn: `nqn.2026-11.io.test:${"x".repeat(200)}` };
  for (const columns of [40, 50, 60, 80, 100, 200]) {
    for (const line of [...volumeLines([VOLUME, OTHER], columns), ...volumeLines([long], columns)]) {
      assert(line.length <= columns, `${columns}: ${line}`);
    }
  }
  assertEquals(volumeLines([VOLUME], 60), [
    "NAME    DEVICE        SIZE  STATE     PATHS",
    "vol-n1  /dev/ublkb0  1 GiB  degraded  1/2 paths",
  ]);
});

Deno.test("volumeDetails() wraps to the terminal from 40 columns on", () => {
  for (const columns of [40, 60, 80, 120]) {
    for (const line of volumeDetails({ ...VOLUME, slowPath: "demote" }, columns)) {
      assert(line.length <= columns || line.trim().split(" ").filter((word) => word !== "").length <= 2, line);
    }
  }
});

Deno.test("Paths that are connected and serve nothing are not counted as serving", () => {
  const paths = [1, 2].map((id) => ({ ...PATH, id, ana: "inaccessible" as const }));
  const volume = { ...VOLUME, state: "no-path" as const, paths };
  assert(volumeLines([volume])[0]!.includes("  no-path  0/2 paths  "));
  const lines = volumeDetails(volume);
  assertEquals(lines[0], "vol-n1: no-path, 0 of 2 paths serve (2 connected, inaccessible)");
  assert(lines.some((line) => line.startsWith("    1  127.0.0.1:4420  connected, inaccessible,")), lines.join("\n"));
  const mixed = volumeDetails({ ...volume, paths: [PATH, { ...paths[1]!, ana: "change" }] });
  assertEquals(mixed[0], "vol-n1: no-path, 1 of 2 paths serves (1 connected, change)");
});

Deno.test("volumeDetails() shows the volume and its paths, and escapes what the storage system says", () => {
  assertEquals(volumeDetails(VOLUME), [
    "vol-n1: degraded, 1 of 2 paths serves",
    "  nqn        nqn.2026-11.io.test:vol",
    "  namespace  1, 0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9",
    "  size       1 GiB in blocks of 512 B",
    "  device     /dev/ublkb0 (ublk), 2 queues of depth 128",
    "  storage    Linux, serial number abc\\u001b[2J",
    "  policy     round-robin",
    "  times      connect-timeout 5s, keep-alive 5s, io-timeout 30s, no-path-timeout 1m,",
    "             fast-io-fail-timeout off, ctrl-loss-timeout off, reconnect-delay 250ms,",
    "             reconnect-delay-max 10s, write-hold off",
    "  waiting    0 requests for a path, 1 write held",
    "  paths",
    "    1  127.0.0.1:4420  live, optimized, controller 7, 2 queues",
    "       1 read (4 KiB), 2 writes (8 KiB), 3 in flight (12 KiB)",
    "       reads take 0.123 ms (at most 12.5 ms)",
    "       0 error answers, 0 moved to other paths, 0 reconnects",
    "    2  [::1]:4420  reconnecting, weight 3: connection refused",
    "       1 read (4 KiB), 2 writes (8 KiB), 0 in flight",
    "       reads take 150 ms (at most 20001 ms), writes take 2 ms (at most 2 ms)",
    "       0 error answers, 4 moved to other paths, 1 reconnect",
  ]);
  const long = { ...VOLUME.timeouts, connectTimeoutMs: 1_234_567, ioTimeoutMs: 1_234_567, noPathTimeoutMs: 7_654_321 };
  for (const line of volumeDetails({ ...VOLUME, timeouts: long })) assert(line.length < 100, line);
  const auto = volumeDetails({ ...VOLUME, writeHoldAuto: true, timeouts: { ...VOLUME.timeouts, writeHoldMs: 10_000 } });
  assert(auto.includes("             reconnect-delay-max 10s, write-hold 10s (auto)"), auto.join("\n"));
  const preferring = volumeDetails({ ...VOLUME, policy: "active-passive", preferredPath: 2 });
  assert(preferring.includes("  policy     active-passive, preferred-path 2"), preferring.join("\n"));
  const manual = volumeDetails({ ...VOLUME, failback: "manual", paths: [{ ...PATH, standby: true }] });
  assert(manual.includes("  policy     round-robin, failback manual"), manual.join("\n"));
  assert(manual.some((line) => line.includes("  live, optimized, standby, controller")), manual.join("\n"));
  const reason = "its namespace is write protected";
  const protectedOne = { ...VOLUME, readOnly: true, readOnlyReason: reason, device: null };
  assertMatch(volumeDetails(protectedOne).join("\n"), /^ +read-only +its namespace is write protected$/m);
});

Deno.test("volumeDetails() tells of digests where there are any, and of those that were wrong", () => {
  const both = { ...VOLUME, headerDigest: true, dataDigest: true, paths: [{ ...PATH, digestErrors: 3 }] };
  const lines = volumeDetails(both);
  assert(lines.includes("  digests    header and data"), lines.join("\n"));
  assert(lines.some((line) => line.endsWith("0 reconnects, 3 digest errors")), lines.join("\n"));
  assert(volumeDetails({ ...VOLUME, dataDigest: true }).includes("  digests    data"));
});

Deno.test("volumeDetails() tells what is done about slow paths, and which are slow since when", () => {
  const slowSince = "2026-11-25T09:12:33.000Z";
  const lines = volumeDetails({ ...VOLUME, slowPath: "demote", paths: [{ ...PATH, slowSince }] });
  assert(lines.includes("  slow-path  demote"), lines.join("\n"));
  const path = "    1  127.0.0.1:4420  live, optimized, controller 7, 2 queues, slow since 2026-11-25T09:12:33.000Z";
  assert(lines.includes(path), lines.join("\n"));
});

Deno.test("volumeDetails() tells of a path with fewer queues than the volume has, and of requests that were handed over", () => {
  const lines = volumeDetails({ ...VOLUME, handedOver: 5, paths: [{ ...PATH, queues: 1 }] });
  assert(lines.includes("    1  127.0.0.1:4420  live, optimized, controller 7, 1 of 2 queues"), lines.join("\n"));
  assert(lines.includes("  handed over  5 requests to other queues"), lines.join("\n"));
});

Deno.test("volumeDetails() tells of requests that failed, once any has", () => {
  const line = (failed: Partial<VolumeInfo>) =>
    volumeDetails({ ...VOLUME, ...failed }).find((words) => words.startsWith("  failed"));
  assertEquals(line({}), undefined);
  const failed = { failedReads: 2, failedWrites: 1, failedFlushes: 3, failedDiscards: 1 };
  assertEquals(line(failed)?.trim().split(/ {2,}/), ["failed", "2 reads, 1 write, 3 flushes, 1 discard"]);
});

Deno.test("volumeDetails() tells of reads that are sent twice", () => {
  const volume = { ...VOLUME, hedges: 12, hedgesWon: 9, hedgesSuppressed: 3 };
  const line = (hedgeReads: string, hedgeMs: number | null) =>
    volumeDetails({ ...volume, hedgeReads, hedgeMs }).find((words) => words.startsWith("  hedge-reads "));
  const counts = "12 reads repeated, 9 answered first, 3 late but not repeated";
  assertEquals(line("off", null), undefined);
  assertEquals(line("20ms", 20), `  hedge-reads  20ms: ${counts}`);
  assertEquals(line("p99", 1.2345), `  hedge-reads  p99, 1.23 ms now: ${counts}`);
  assertEquals(line("p99", null), `  hedge-reads  p99, not known yet: ${counts}`);
});

Deno.test("volumeLines() and volumeDetails() count paths that were never up apart", () => {
  const never = { ...PATH, id: 3, traddr: "192.0.2.9", state: "reconnecting" as const, neverLive: true };
  const volume = { ...VOLUME, state: "live" as const, paths: [PATH, never] };
  const line = volumeLines([volume])[0]!;
  assert(line.includes("  live  1/1 path  "), line);
  assert(line.endsWith("  1-never-up"), line);
  assertEquals(volumeDetails(volume)[0], "vol-n1: live, 1 of 1 path serves (1 never up)");
});
