import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { Prng } from "../../../src/base/prng.ts";
import { CommandPhase, CommandTable } from "../../../src/nvme_host/command_table.ts";

Deno.test("CommandTable gives every slot once and then none", () => {
  for (const depth of [1, 2, 3, 128, 511, 4096]) {
    const table = new CommandTable(depth);
    const slots = new Set<number>();
    for (let i = 0; i < depth; i++) slots.add(table.allocate());
    assertEquals(slots.size, depth);
    assertEquals(Math.max(...slots), depth - 1);
    assertEquals(Math.min(...slots), 0);
    assertEquals(table.allocate(), -1);
    assertEquals(table.inUse, depth);
    const cids = new Set([...slots].map((slot) => table.cid[slot]));
    assertEquals(cids.size, depth);
  }
});

Deno.test("CommandTable find() knows active commands by their present CID only", () => {
  const table = new CommandTable(3);
  const slot = table.allocate();
  const cid = table.cid[slot];
  assertEquals(table.find(cid), slot);
  assertEquals(table.find(cid + 4), -1);
  assertEquals(table.find(3), -1, "no slot has this number");
  table.phase[slot] = CommandPhase.ANSWERED;
  assertEquals(table.find(cid), -1);
  table.phase[slot] = CommandPhase.DONE;
  assertEquals(table.find(cid), -1);
  table.release(slot);
  assertEquals(table.find(cid), -1);
  assertThrows(() => table.release(slot), AssertionFailure);
  assertEquals(table.allocate(), slot);
  assertEquals(table.find(cid), -1);
});

Deno.test("CommandTable never uses the CID 0xffff, and no CID again for as long as there are others", () => {
  for (const depth of [1, 2, 8, 128, 511]) {
    const table = new CommandTable(depth);
    const generations = 65536 >> Math.ceil(Math.log2(Math.max(depth, 2)));
    const others = Array.from({ length: depth - 1 }, () => table.allocate());
    const first = table.allocate();
    const seen = new Set<number>();
    const releaseAll = (slots: number[]) => slots.forEach((slot) => table.release(slot));
    releaseAll([...others, first]);
    for (let use = 0; use < generations - 1; use++) {
      for (let i = 0; i < depth; i++) {
        const slot = table.allocate();
        assertEquals(table.cid[slot] !== 0xffff, true, `depth ${depth}, use ${use}`);
        assertEquals(seen.has(table.cid[slot]), false, `CID ${table.cid[slot]} of depth ${depth} again`);
        seen.add(table.cid[slot]);
      }
      releaseAll(Array.from({ length: depth }, (_, slot) => slot));
    }
  }
});

Deno.test("CommandTable refuses depths that the CID cannot tell apart", () => {
  assertThrows(() => new CommandTable(0), AssertionFailure);
  assertThrows(() => new CommandTable(4097), AssertionFailure);
});

Deno.test("CommandTable does what a map from CID to slot does", () => {
  const seed = 7;
  const prng = new Prng(seed);
  const table = new CommandTable(13);
  const active = new Map<number, number>();
  for (let step = 0; step < 200_000; step++) {
    const cids = [...active.keys()];
    if (prng.below(2) === 0) {
      const slot = table.allocate();
      assertEquals(slot < 0, active.size === 13, `seed ${seed}, step ${step}`);
      if (slot < 0) continue;
      assertEquals([...active.values()].includes(slot), false);
      active.set(table.cid[slot], slot);
    } else if (cids.length > 0) {
      const cid = cids[prng.below(cids.length)];
      assertEquals(table.find(cid), active.get(cid));
      table.release(active.get(cid)!);
      active.delete(cid);
    }
    assertEquals(table.inUse, active.size);
    const any = prng.below(65536);
    assertEquals(table.find(any), active.get(any) ?? -1);
  }
});
