import { assertEquals } from "@std/assert";
import { EIO, ENODATA } from "../../../../src/base/errno.ts";
import { setLogSink } from "../../../../src/base/log.ts";
import { BlockOp } from "../../../../src/block/request.ts";
import { IoWatch } from "../../../../src/host/driver/io_watch.ts";
import { Counters, QueueCounter } from "../../../../src/multipath/counters.ts";
import { noteFailed } from "../../../../src/multipath/failed_requests.ts";
import { StatusCode } from "../../../../src/protocol/nvme_status.ts";

const READ = { op: BlockOp.READ, lba: 1234, blocks: 8, errno: EIO, status: 0, path: -1, pathlessMs: 6_020 };

/** A watch on two queues, and what it logs: level and words. */
function watched(waitMs: number | null = 60_000) {
  const state = { isGoing: false };
  const counters = [new Counters(), new Counters()];
  const watch = new IoWatch({
    ...{ name: "vol-n1", counters, blockSize: () => 512, waitMs: () => waitMs, isGoing: () => state.isGoing },
    pathWords: (path) => path === 1 ? "path 1 (192.0.2.1:4420)" : null,
  });
  const logged = (work: () => void) => {
    const lines: string[] = [];
    setLogSink((line) => lines.push(line));
    try {
      work();
    } finally {
      setLogSink(null);
    }
    return lines.map((line) => line.trimEnd().replace(/^.*?(debug|info|warn|error) volume: /, "$1 "));
  };
  return { counters, watch, logged, state };
}

Deno.test("IoWatch logs what failed, with errno and reason, and how many with it", () => {
  const { counters, watch, logged } = watched();
  assertEquals(logged(() => watch.look(0)), []);
  noteFailed(counters[0], READ);
  noteFailed(counters[1], { ...READ, op: BlockOp.WRITE, errno: ENODATA, status: StatusCode.WRITE_FAULT, path: 1 });
  assertEquals(logged(() => watch.look(500)), [
    "error vol-n1: read of 4 KiB at LBA 1234 failed with EIO: no path for 6.0 s",
    "error vol-n1: write of 4 KiB at LBA 1234 failed with ENODATA: write fault, says path 1 (192.0.2.1:4420)",
  ]);
  assertEquals(logged(() => watch.look(1_000)), [], "each is told once");
  for (let i = 0; i < 3; i++) noteFailed(counters[0], { ...READ, op: BlockOp.FLUSH, pathlessMs: -1 });
  const line = "error vol-n1: flush failed with EIO; 2 more requests failed with it";
  assertEquals(logged(() => watch.look(1_500)), [line]);
});

Deno.test("IoWatch logs failures that go on at a bounded rate, and none of them is lost", () => {
  const { counters, watch, logged } = watched();
  const lines = logged(() => {
    for (let look = 0; look < 120; look++) {
      noteFailed(counters[0], READ);
      watch.look(look * 500);
    }
  });
  assertEquals(lines.length, 10, "5 at once and one in ten seconds");
  assertEquals(/\(\d+ more like it were not logged\)$/.test(lines[9]), true, lines[9]);
});

Deno.test("IoWatch logs when I/O begins to wait for a path and when it goes on, and that all paths serve again", () => {
  const { watch, logged } = watched();
  assertEquals(
    logged(() => {
      watch.handlePaths({ serving: 0, all: 1 }, 0);
      watch.handlePaths({ serving: 1, all: 1 }, 10);
      watch.handlePaths({ serving: 2, all: 2 }, 20);
      watch.handlePaths({ serving: 1, all: 2 }, 30);
      watch.handlePaths({ serving: 0, all: 2 }, 1_000);
      watch.handlePaths({ serving: 0, all: 2 }, 2_000);
      watch.handlePaths({ serving: 1, all: 2 }, 4_200);
      watch.handlePaths({ serving: 2, all: 2 }, 5_000);
    }),
    [
      "warn vol-n1: no path is left: I/O waits, for 1m at most",
      "info vol-n1: a path serves again: I/O goes on after 3.2 s",
      "info vol-n1: all 2 paths serve again",
    ],
  );
  for (const [waitMs, words] of [[null, "I/O waits, until one is back"], [0, "I/O fails"]] as const) {
    const other = watched(waitMs);
    const lines = other.logged(() => {
      other.watch.handlePaths({ serving: 1, all: 1 }, 0);
      other.watch.handlePaths({ serving: 0, all: 1 }, 0);
    });
    assertEquals(lines, [`warn vol-n1: no path is left: ${words}`]);
  }
});

Deno.test("IoWatch says that all paths serve again only after one stopped serving", () => {
  const { watch, logged } = watched();
  const told = (...counts: [serving: number, all: number][]) =>
    logged(() => counts.forEach(([serving, all]) => watch.handlePaths({ serving, all }, 0)));
  assertEquals(told([0, 2], [1, 2], [2, 2]), [], "the paths of a new volume come up");
  assertEquals(told([2, 3], [2, 2]), [], "a path that is added is refused");
  assertEquals(told([2, 3], [3, 3]), [], "a path that is added comes up");
  assertEquals(told([2, 3], [2, 3], [3, 3]), ["info vol-n1: all 3 paths serve again"]);
  assertEquals(told([1, 3], [1, 1]), [], "those that are lost are removed");
  const line = "info vol-n1: a path serves again: I/O goes on after 0.0 s";
  assertEquals(told([0, 1], [1, 1]).slice(1), [line], "a volume with one path");
});

Deno.test("IoWatch tells of I/O that fails because the volume goes, not because a path is missed", () => {
  const { counters, watch, logged, state } = watched();
  state.isGoing = true;
  noteFailed(counters[0], { ...READ, pathlessMs: 0 });
  const line = "error vol-n1: read of 4 KiB at LBA 1234 failed with EIO: the volume is being taken away";
  assertEquals(logged(() => watch.look(0)), [line]);
});

Deno.test("IoWatch logs that writes are held, and that they are no more", () => {
  const { counters, watch, logged } = watched();
  counters[1].setQueue(QueueCounter.HELD, 3);
  assertEquals(logged(() => watch.look(0)), ["info vol-n1: writes of a lost path are held (3 now)"]);
  assertEquals(logged(() => watch.look(500)), []);
  counters[1].setQueue(QueueCounter.HELD, 0);
  assertEquals(logged(() => watch.look(1_000)), ["info vol-n1: no write is held any more"]);
});
