import { assertEquals } from "@std/assert";
import { FaultScript } from "../../../src/nvme_target/fault_script.ts";
import { parseFaults } from "../../../src/nvme_target/fault_words.ts";
import { LinkFaults } from "../../../src/nvme_target/link_faults.ts";

function linkFaults(...words: string[]): LinkFaults {
  const rules = parseFaults(words, [{ index: 0, traddr: "127.0.0.1", trsvcid: 4420 }]);
  const script = new FaultScript({ rules, seed: 1, startMs: 0 });
  const faults = new LinkFaults();
  faults.setFaults(script.connection({ listener: 0, queue: "io", stream: 0, sinceMs: 0 }));
  return faults;
}

/** What holds at each of these times: s(ilent), r(eceives), w(rites), h(alf-open), x (is reset). */
function over(faults: LinkFaults, times: number[]): string[] {
  return times.map((nowMs) => {
    faults.handleTime(nowMs);
    const { isSilent, mayReceive, maySend, isHalfOpen, isReset } = faults;
    return [isSilent && "s", mayReceive && "r", maySend && "w", isHalfOpen && "h", isReset && "x"]
      .filter((letter) => letter !== false).join("");
  });
}

Deno.test("LinkFaults lets nothing through while it is stalled, and everything before and after", () => {
  const faults = linkFaults("1:stall,at=100ms,for=50ms");
  assertEquals(over(faults, [0, 99, 100, 149, 150]), ["rw", "rw", "s", "s", "rw"]);
});

Deno.test("LinkFaults goes on receiving on a half-open connection, and sends nothing", () => {
  assertEquals(over(linkFaults("1:half-open,at=100ms"), [0, 100, 9999]), ["rw", "srh", "srh"]);
});

Deno.test("LinkFaults that are to reset a connection stay so", () => {
  assertEquals(over(linkFaults("1:reset,at=100ms"), [0, 100, 200]), ["rw", "rwx", "rwx"]);
});

Deno.test("LinkFaults holds the next piece back until the last one is paid for, and tells when that is", () => {
  const faults = linkFaults("1:slow-drain=1000,at=100ms,for=1s");
  faults.handleTime(0);
  faults.handleMoved(1e6);
  assertEquals([over(faults, [50]), faults.nextDueMs], [["rw"], 100]);
  faults.handleTime(100);
  faults.handleMoved(200);
  assertEquals([over(faults, [100, 299]), faults.nextDueMs], [["", ""], 300]);
  assertEquals([over(faults, [300]), faults.nextDueMs], [["rw"], 1100]);
  faults.handleMoved(5000);
  assertEquals([over(faults, [1000]), faults.nextDueMs], [[""], 1100]);
  assertEquals([over(faults, [1100]), faults.nextDueMs], [["rw"], Infinity]);
});

Deno.test("LinkFaults tells each change of the window once", () => {
  const faults = linkFaults("1:tiny-window=4K,at=100ms,for=1s");
  const windows = [0, 100, 500, 1100, 1200].map((nowMs) => {
    faults.handleTime(nowMs);
    return faults.pollWindow();
  });
  assertEquals(windows, [null, 4096, null, Infinity, null]);
});

Deno.test("LinkFaults that are taken away undo all but what cannot be undone", () => {
  const faults = linkFaults("1:stall", "1:slow-drain=1", "1:tiny-window=1K");
  faults.handleTime(0);
  faults.handleMoved(1000);
  assertEquals([faults.pollWindow(), over(faults, [1]), faults.isOver], [1024, ["s"], false]);
  faults.setFaults(null);
  assertEquals([over(faults, [2]), faults.isOver, faults.nextDueMs], [["rw"], false, Infinity]);
  assertEquals([faults.pollWindow(), faults.isOver], [Infinity, true]);
  const halfOpen = linkFaults("1:half-open");
  halfOpen.handleTime(0);
  halfOpen.setFaults(null);
  assertEquals([over(halfOpen, [1]), halfOpen.isOver], [["srh"], false]);
});
