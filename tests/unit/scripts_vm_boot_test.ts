import { assert, assertEquals, assertFalse } from "@std/assert";
import { bootTwiceAtMost, isDeath, KernelDied } from "../../scripts/vm_boot.ts";

/** Boots with these results, one after the other; how often it was booted, and which deaths were told. */
async function boots(results: (string | Error)[]) {
  const told: string[] = [];
  let count = 0;
  const boot = () => {
    const result = results[count++]!;
    return result instanceof Error ? Promise.reject(result) : Promise.resolve(result);
  };
  const booted = bootTwiceAtMost(boot, ({ message }) => told.push(message));
  const outcome = await booted.catch((error: Error) => error);
  return { outcome, count, told };
}

Deno.test("bootTwiceAtMost() boots once more, and says so, only if the kernel died", async () => {
  assertEquals(await boots(["up"]), { outcome: "up", count: 1, told: [] });
  assertEquals(await boots([new KernelDied("oops"), "up"]), { outcome: "up", count: 2, told: ["oops"] });
  const second = new KernelDied("again");
  assertEquals(await boots([new KernelDied("oops"), second, "up"]), { outcome: second, count: 2, told: ["oops"] });
  const other = new Error("no qemu");
  assertEquals(await boots([other, "up"]), { outcome: other, count: 1, told: [] });
});

Deno.test("isDeath() knows a panic from a machine that was only switched off", () => {
  assert(isDeath("[    1.2] Oops: int3: 0000 [#1]\r\n[    1.3] Kernel panic - not syncing: Fatal exception\r\n"));
  assertFalse(isDeath("[    1.2] reboot: Power down\r\n"));
  assertFalse(isDeath(""));
});
