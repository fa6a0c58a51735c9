import { assertEquals } from "@std/assert";
import { deviceNumbers, fileBehind, loopsOver, loopWords } from "../../../src/serve/storage_users.ts";
import { TempFolder } from "./temp_folder.ts";

/** Major and minor number as makedev(3) packs them. */
function rdevOf(major: number, minor: number): number {
  return (minor % 256) + (major % 4096) * 256 + Math.floor(minor / 256) * 2 ** 20;
}

Deno.test("deviceNumbers() takes apart what the kernel has packed", () => {
  for (
    const [major, minor] of [[0, 0], [1, 3], [7, 255], [8, 16], [253, 256], [259, 70_000], [4095, 2 ** 20 - 1]] as const
  ) {
    assertEquals(deviceNumbers(rdevOf(major, minor)), `${major}:${minor}`);
  }
});

Deno.test("loopsOver() finds the loop devices that have the file behind them, by whatever name", () => {
  using folder = new TempFolder();
  const file = folder.write("disk.img", "x");
  const other = folder.write("other.img", "x");
  Deno.linkSync(file, `${folder.path}/hard`);
  Deno.symlinkSync(file, `${folder.path}/soft`);
  for (const [name, backing] of [["loop0", file], ["loop1", other], ["loop10", `${folder.path}/hard`]] as const) {
    folder.write(`sys/block/${name}/loop/backing_file`, `${backing}\n`);
  }
  folder.write("sys/block/loop2/size", "0");
  folder.write("sys/block/sda/size", "8");
  const found = (path: string) => {
    const { dev, ino } = Deno.statSync(path);
    return loopsOver({ path, dev, ino }, `${folder.path}/sys`);
  };
  assertEquals(found(file), ["/dev/loop0", "/dev/loop10"]);
  assertEquals(found(`${folder.path}/soft`), ["/dev/loop0", "/dev/loop10"]);
  assertEquals(found(other), ["/dev/loop1"]);
  assertEquals(found(folder.write("third.img", "x")), []);
  assertEquals(loopWords(["/dev/loop0", "/dev/loop10"]), "is behind /dev/loop0 and /dev/loop10");
});

Deno.test("loopsOver() compares names where the file behind a loop device cannot be seen", () => {
  using folder = new TempFolder();
  folder.write("sys/block/loop0/loop/backing_file", "/gone/disk.img\n");
  const file = { path: "/gone/disk.img", dev: 1, ino: 2 };
  assertEquals(loopsOver(file, `${folder.path}/sys`), ["/dev/loop0"]);
  assertEquals(loopsOver({ ...file, path: "/gone/other.img" }, `${folder.path}/sys`), []);
  assertEquals(loopsOver(file, `${folder.path}/nothing`), [], "a host without /sys");
});

Deno.test("fileBehind() names the file behind a loop device or a partition of it, and of no other device", () => {
  using folder = new TempFolder();
  const sys = `${folder.path}/sys`;
  folder.write("sys/devices/loop0/loop/backing_file", "/a/disk.img\n");
  folder.write("sys/devices/loop0/loop0p1/partition", "1");
  folder.write("sys/devices/sda/size", "8");
  Deno.mkdirSync(`${sys}/dev/block`, { recursive: true });
  for (const [numbers, device] of [["7:0", "loop0"], ["259:1", "loop0/loop0p1"], ["8:0", "sda"]] as const) {
    Deno.symlinkSync(`${sys}/devices/${device}`, `${sys}/dev/block/${numbers}`);
  }
  assertEquals(fileBehind(rdevOf(7, 0), sys), "/a/disk.img");
  assertEquals(fileBehind(rdevOf(259, 1), sys), "/a/disk.img");
  assertEquals([fileBehind(rdevOf(8, 0), sys), fileBehind(rdevOf(9, 9), sys)], [null, null]);
});
