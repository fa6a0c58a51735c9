import { assertEquals, assertThrows } from "@std/assert";
import { hostCall, UmpathError } from "../../../src/base/errors.ts";
import { hostErrno, tellFilesMax } from "../../../src/base/host_error.ts";

/** An error as node's functions throw it. */
function nodeError(code: string, errno: number, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code, errno: -errno });
}

Deno.test("UmpathError.from() words what the host refused, without numbers or the path twice", () => {
  const cases: [thrown: Error, message: string][] = [
    [
      Object.assign(new Error("No space left on device (os error 28): open '/run/x'"), { code: "ENOSPC" }),
      'Cannot open "/run/x": no space left on device',
    ],
    [nodeError("EROFS", 30, "read-only file system, open '/run/x'"), 'Cannot open "/run/x": read-only file system'],
    [
      new Deno.errors.NotFound("No such file or directory (os error 2): mkdir '/a/b'"),
      "Cannot make folder " +
      '"/a/b": no such file or directory',
    ],
    [new Deno.errors.PermissionDenied("no words"), "Cannot use what this host has: permission denied"],
    [
      Object.assign(new Error("Cannot make an eventfd: errno 24"), { errno: 24 }),
      "Cannot make an eventfd: too many open " +
      "files",
    ],
  ];
  for (const [thrown, message] of cases) {
    const error = UmpathError.from(thrown);
    assertEquals([error.code, error.message, error.cause], ["host-lacks", message, thrown]);
  }
});

Deno.test("UmpathError.from() takes what no host can cause for a bug", () => {
  for (const thrown of [new TypeError("x is undefined"), new Deno.errors.BadResource("closed"), "words", null]) {
    assertEquals(UmpathError.from(thrown).code, "bug");
  }
  assertEquals(hostErrno(nodeError("EINVAL", 22, "invalid argument")), null);
});

Deno.test("hostCall() says the action, and which limit is reached", async () => {
  tellFilesMax(1024);
  const refuse = () => {
    throw nodeError("EMFILE", 24, "too many open files, open '/x'");
  };
  const error = assertThrows(() => hostCall("Cannot read the list", refuse), UmpathError);
  const words = "too many open files: this process may have 1024 (ulimit -n, LimitNOFILE=)";
  assertEquals([error.code, error.message], ["host-lacks", `Cannot read the list: ${words}`]);
  const later = await hostCall("Cannot x", () => Promise.reject(nodeError("EIO", 5, "i/o error"))).catch((e) => e);
  assertEquals(later.message, "Cannot x: input/output error");
  assertEquals(hostCall("Cannot x", () => 5), 5);
});
