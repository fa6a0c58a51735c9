import { assertEquals } from "@std/assert";
import { EIO, ENOSPC } from "../../../src/base/errno.ts";
import { StorageErrors } from "../../../src/serve/storage_errors.ts";
import { LogLines } from "./log_lines.ts";

const MIB = 1 << 20;
const made = () => new StorageErrors({ nsid: 3, path: "/data/disk.img" });

Deno.test("StorageErrors says what failed, on what, and why", () => {
  using log = new LogLines();
  const errors = made();
  errors.handleFailure({ errno: ENOSPC, isRead: false }, 0);
  errors.handleFailure({ errno: EIO, isRead: true }, 0);
  assertEquals(log.take(), [
    'error serve: Namespace 3: cannot write "/data/disk.img": no space left on device',
    'error serve: Namespace 3: cannot read "/data/disk.img": input/output error',
  ]);
});

Deno.test("StorageErrors lets a few lines stand for many", () => {
  using log = new LogLines();
  const errors = made();
  for (let i = 0; i < 1_000; i++) errors.handleFailure({ errno: ENOSPC, isRead: false }, i);
  assertEquals(log.take().length, 3);
  errors.handleFailure({ errno: ENOSPC, isRead: false }, 20_000);
  const [line] = log.take();
  assertEquals(line?.endsWith("no space left on device (997 more like it were not logged)"), true, line);
});

Deno.test("StorageErrors says once that a file was cut, and that it has its size again", () => {
  using log = new LogLines();
  const errors = made();
  errors.handleSize({ bytes: 4 * MIB, expectedBytes: 4 * MIB });
  assertEquals(log.take(), []);
  for (let i = 0; i < 3; i++) errors.handleSize({ bytes: MIB, expectedBytes: 4 * MIB });
  assertEquals(log.take(), [
    'error serve: Namespace 3: "/data/disk.img" has only 1 MiB of its 4 MiB: another program has cut it. ' +
    "What was cut off is lost, and reads of it fail",
  ]);
  errors.handleFailure({ errno: EIO, isRead: true }, 0);
  assertEquals(log.take(), [], "that reads of it fail was said");
  errors.handleFailure({ errno: ENOSPC, isRead: false }, 0);
  errors.handleSize({ bytes: 4 * MIB, expectedBytes: 4 * MIB });
  assertEquals(log.take().map((line) => line.replace(/.*: /, "")), [
    "no space left on device",
    '"/data/disk.img" has its 4 MiB again',
  ]);
});
