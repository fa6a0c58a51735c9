import { assertEquals, assertRejects } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { askOrStart } from "../../../src/cli/daemon_calls.ts";

Deno.test("askOrStart() gives a daemon up that leaves at once three times, and names its log", async () => {
  const path = Deno.makeTempDirSync({ prefix: "umpath-calls-" });
  Deno.env.set("UMPATH_RUN_DIR", path);
  let starts = 0;
  const start = () => Promise.resolve(void starts++);
  try {
    const error = await assertRejects(() => askOrStart("info", {}, { start }), UmpathError);
    assertEquals(
      [error.code, error.message, error.hint],
      ["host-lacks", "The umpath daemon leaves as soon as it has started", `See ${path}/daemon.log for why`],
    );
    assertEquals(starts, 3);
  } finally {
    Deno.env.delete("UMPATH_RUN_DIR");
    Deno.removeSync(path, { recursive: true });
  }
});
