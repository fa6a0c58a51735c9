import { assertEquals } from "@std/assert";
import * as errnos from "../../../src/base/errno.ts";

/** asm-generic/errno.h of Linux. */
const LINUX: Record<string, number> = {
  ...{ EPERM: 1, ENOENT: 2, EINTR: 4, EIO: 5, EAGAIN: 11, ENOMEM: 12, EACCES: 13, EBUSY: 16, EEXIST: 17, ENODEV: 19 },
  ...{ EINVAL: 22, ENOSPC: 28, EROFS: 30, EPIPE: 32, ENOSYS: 38, EBADE: 52, ENODATA: 61 },
  ...{ ETIME: 62, ENOLINK: 67, EPROTO: 71, EILSEQ: 84, EOPNOTSUPP: 95, EADDRINUSE: 98, EADDRNOTAVAIL: 99 },
  ...{ ENETUNREACH: 101, ECONNRESET: 104, ENOBUFS: 105, ETIMEDOUT: 110, ECONNREFUSED: 111, EHOSTUNREACH: 113 },
  ...{ EALREADY: 114, EINPROGRESS: 115, EREMOTEIO: 121, ECANCELED: 125 },
};

Deno.test("errno values are those of Linux", () => {
  for (const [name, value] of Object.entries(errnos)) {
    if (typeof value === "number" && name in LINUX) assertEquals(value, LINUX[name], name);
  }
});

Deno.test("errnoWords() takes either sign and names what it does not know by its number", () => {
  assertEquals(errnos.errnoWords(111), "connection refused");
  assertEquals(errnos.errnoWords(-111), "connection refused");
  assertEquals(errnos.errnoWords(4095), "error 4095");
  assertEquals(errnos.errnoWords(-4095), "error 4095");
});
