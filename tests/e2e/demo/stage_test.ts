import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UmpathError } from "../../../src/base/errors.ts";
import { Untrue } from "../../../src/demo/claims.ts";
import { processesOf } from "../../../src/demo/leftovers.ts";
import { endProcess, Interrupted, Stage } from "../../../src/demo/stage.ts";
import { eventually } from "../host/host_fixture.ts";

/** A stage whose processes can be told from all others. */
function stageOf(): { stage: Stage; mark: string } {
  const mark = `/nowhere/${crypto.randomUUID()}`;
  return { stage: new Stage({ UMPATH_RUN_DIR: mark }), mark };
}

Deno.test("Stage.run() gives exit code and output, and throws with them if told to check", async () => {
  const { stage } = stageOf();
  const command = ["sh", "-c", "echo out; echo bad >&2; exit 3"];
  assertEquals(await stage.run(command), { code: 3, stdout: "out\n", stderr: "bad\n" });
  const error = await assertRejects(() => stage.run(command, { check: true }), Untrue);
  assertStringIncludes(error.message, "ended with exit code 3: bad");
  const missing = await assertRejects(() => stage.run(["no-such-program"]), UmpathError);
  assertEquals([missing.code, missing.message], [
    "host-lacks",
    'Cannot run "no-such-program": there is no such program',
  ]);
});

Deno.test("Stage.run() ends what takes too long", async () => {
  const { stage, mark } = stageOf();
  const error = await assertRejects(() => stage.run(["sleep", "60"], { timeoutMs: 50 }), UmpathError);
  assertEquals([error.code, error.message], ["timed-out", '"sleep 60" has not ended after 50ms']);
  assertEquals(processesOf(mark), []);
});

Deno.test("Stage.run() and every wait end when the demo is interrupted; what must be whole runs on", async () => {
  const { stage, mark } = stageOf();
  setTimeout(() => stage.interrupt("SIGTERM"), 30);
  const waits: (() => Promise<unknown>)[] = [
    () => stage.run(["sleep", "60"]),
    () => stage.pause(60_000),
    () => stage.eventually("pigs fly", () => false, 60_000),
    () => stage.unlessEnded(new Promise(() => {})),
  ];
  const whole = stage.run(["sh", "-c", "sleep 0.2; echo done"], { isWhole: true });
  const errors: Interrupted[] = await Promise.all(waits.map((wait) => assertRejects(wait, Interrupted)));
  assertEquals(errors.map(({ signal }) => signal), ["SIGTERM", "SIGTERM", "SIGTERM", "SIGTERM"]);
  assertEquals((await whole).stdout, "done\n");
  for (const wait of waits) await assertRejects(wait, Interrupted);
  assertEquals((await stage.run(["true"], { isWhole: true })).code, 0);
  await eventually("no process is left", () => processesOf(mark).length === 0);
});

Deno.test("Stage.eventually() gives the first answer, and says what it waited for in vain", async () => {
  const { stage } = stageOf();
  let asked = 0;
  assertEquals(await stage.eventually("the third", () => ++asked === 3 ? "it" : null, 5_000), "it");
  const error = await assertRejects(() => stage.eventually("a path is live", () => false, 60), Untrue);
  assertEquals(error.message, "After 60ms still not: a path is live");
});

Deno.test("Stage.takeBack() undoes everything once, the last first, whatever of it fails", async () => {
  const { stage } = stageOf();
  const done: string[] = [];
  const owe = (what: string) => stage.owe(what, () => Promise.resolve(done.push(what)));
  const first = owe("one");
  stage.owe("two", () => Promise.reject(new Error("it is stuck")));
  const third = owe("three");
  owe("four");
  await third();
  assertEquals(await stage.takeBack(), ["Cannot take back two: it is stuck"]);
  await first();
  await third();
  assertEquals(done, ["three", "four", "one"]);
  assertEquals(await stage.takeBack(), []);
});

Deno.test("endProcess() asks first and kills who does not listen", async () => {
  const { stage } = stageOf();
  const [polite, deaf, over] = ["sleep 60", "trap '' TERM; while :; do sleep 0.05; done", "exit 4"].map((script) =>
    stage.spawn(["sh", "-c", script], { stdout: "null", stderr: "null" })
  );
  await over!.status;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals([await endProcess(polite!, 5_000), await endProcess(over!, 0)], [true, true]);
  assertEquals(await endProcess(deaf!, 200), false);
  assertEquals((await deaf!.status).signal, "SIGKILL");
  assert((await polite!.status).signal === "SIGTERM");
});
