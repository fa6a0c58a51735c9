import { assertEquals } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { failureLines } from "../../../src/cli/attach_discovered.ts";

const NQN = "nqn.2026-11.io.test:vol";

Deno.test("failureLines() names each failure, says what can be done about several once, and does not stutter", () => {
  const failure = (nsid: number | null, message: string, hint?: string) => {
    return { nqn: NQN, nsid, error: new UmpathError("host-lacks", message, { hint }) };
  };
  const lines = failureLines([
    failure(1, "Cannot attach: the daemon has 256 volumes, which is its limit", "Detach volumes"),
    failure(2, 'Cannot connect to "192.0.2.1:4420": too many open files', "Raise the limit"),
    failure(3, "Cannot attach: the daemon has 256 volumes, which is its limit", "Detach volumes"),
    failure(null, "Cannot find a path"),
  ]);
  assertEquals(lines, [
    `umpath: Cannot attach namespace 1 of "${NQN}": the daemon has 256 volumes, which is its limit`,
    `umpath: Cannot attach namespace 2 of "${NQN}": cannot connect to "192.0.2.1:4420": too many open files`,
    "hint: Raise the limit",
    `umpath: Cannot attach namespace 3 of "${NQN}": the daemon has 256 volumes, which is its limit`,
    "hint: Detach volumes",
    `umpath: Cannot attach "${NQN}": cannot find a path`,
  ]);
});
