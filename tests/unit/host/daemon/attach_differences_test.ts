import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../../src/base/errors.ts";
import { checkPromises, ignoredWords, type Wanted } from "../../../../src/host/daemon/attach_differences.ts";
import { VOLUME } from "../../cli/volume_fixture.ts";

const NOTHING: Wanted = { name: null, device: "auto", queues: null, depth: null, readOnly: false, timeouts: {} };

Deno.test("checkPromises() refuses what a volume that is there would not keep, and takes what it has", () => {
  const refused: [Partial<Wanted>, words: string][] = [
    [{ readOnly: true }, "Cannot attach read-only: vol-n1 is attached and takes writes"],
    [{ headerDigest: true }, "Cannot attach with --hdr-digest: vol-n1 is attached without it"],
    [{ dataDigest: true }, "Cannot attach with --data-digest: vol-n1 is attached without it"],
    [{ name: "other" }, 'Cannot attach as "other": vol-n1 is attached under that name'],
    [{ device: "loop" }, "Cannot attach with --device loop: vol-n1 is attached with a ublk device"],
    [{ device: "none" }, "Cannot attach with --device none: vol-n1 is attached with a ublk device"],
  ];
  for (const [wanted, words] of refused) {
    const error = assertThrows(() => checkPromises({ ...NOTHING, ...wanted }, VOLUME), UmpathError);
    assertEquals([error.code, error.message], ["in-use", words]);
  }
  checkPromises(NOTHING, { ...VOLUME, readOnly: true });
  const all = { readOnly: true, headerDigest: true, dataDigest: true };
  checkPromises({ ...NOTHING, ...all, name: "vol-n1", device: "ublk" }, { ...VOLUME, ...all });
});

Deno.test("ignoredWords() names what differs from the volume that is there, and what is in force", () => {
  assertEquals(ignoredWords(NOTHING, VOLUME), null);
  const same = { ...NOTHING, policy: "round-robin", failback: null, queues: 2, depth: 128 };
  assertEquals(ignoredWords({ ...same, timeouts: { ioTimeoutMs: 30_000, writeHoldMs: null } }, VOLUME), null);
  const auto: Wanted = { ...NOTHING, timeouts: { writeHoldMs: "auto" } };
  assertEquals(ignoredWords(auto, { ...VOLUME, writeHoldAuto: true }), null);
  assertStringIncludes(ignoredWords(auto, VOLUME) ?? "", "--write-hold auto (it is off) is ignored");
  assertEquals(
    ignoredWords({ ...NOTHING, depth: 64 }, VOLUME),
    "vol-n1 was attached before and stays as it is: --depth 64 (it is 128) is ignored",
  );
  const other = { ...NOTHING, policy: "other", queues: 1 };
  assertEquals(
    ignoredWords({ ...other, timeouts: { ioTimeoutMs: null, reconnectDelayMaxMs: 60_000 } }, VOLUME),
    "vol-n1 was attached before and stays as it is: --policy other (it is round-robin), --queues 1 (it is 2), " +
      "--io-timeout off (it is 30s) and --reconnect-delay-max 1m (it is 10s) are ignored; umpath set changes settings and times",
  );
});
