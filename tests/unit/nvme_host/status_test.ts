import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { EBADE, EILSEQ, EIO, ENODATA, ENOLINK, ENOSPC, EOPNOTSUPP, EREMOTEIO, EROFS } from "../../../src/base/errno.ts";
import {
  connectRefusal,
  type Disposition,
  isLastingRefusal,
  retryDelayIndex,
  statusDisposition,
  statusErrno,
  statusNumberWords,
  statusWords,
} from "../../../src/nvme_host/status.ts";

const DNR = 0x4000;

Deno.test("statusWords() names the status and Do Not Retry", () => {
  assertEquals(statusWords(0), "success");
  assertEquals(statusWords(0x80), "LBA out of range");
  assertEquals(statusWords(0x281 | DNR), "unrecovered read error");
  assertEquals(statusWords(0x2ff), "unknown media error (status 0x2ff)");
  assertEquals(statusWords(0x512), "unknown type 5 error (status 0x512)");
  assertEquals(statusNumberWords(0x281 | DNR), "status 0x281, do not retry");
  assertEquals(statusNumberWords(0), "status 0x00");
});

Deno.test("statusErrno() gives what the Linux NVMe host gives", () => {
  const cases: [status: number, errno: number][] = [
    [0x000, 0],
    [0x001, EOPNOTSUPP],
    [0x002, EOPNOTSUPP],
    [0x00b, EOPNOTSUPP],
    [0x180, EOPNOTSUPP],
    [0x080, EREMOTEIO],
    [0x082, EREMOTEIO],
    [0x021, EREMOTEIO],
    [0x081, ENOSPC],
    [0x083, EBADE],
    [0x280, ENODATA],
    [0x281, ENODATA],
    [0x285, ENODATA],
    [0x286, ENODATA],
    [0x287, ENODATA],
    [0x182, ENODATA],
    [0x282, EILSEQ],
    [0x283, EILSEQ],
    [0x284, EILSEQ],
    [0x181, EILSEQ],
    [0x370, ENOLINK],
    [0x020, EROFS],
    [0x006, EIO],
    [0x7ff, EIO],
  ];
  for (const [status, errno] of cases) {
    assertEquals(statusErrno(status), errno, statusWords(status));
    assertEquals(statusErrno(status | 0x7800), errno, "CRD, More and DNR do not change the errno");
  }
});

Deno.test("statusDisposition() tells path, passing and own reasons apart", () => {
  const cases: [status: number, disposition: Disposition][] = [
    [0x000, "done"],
    [0x300, "failover"],
    [0x301, "failover"],
    [0x302, "failover"],
    [0x303, "failover"],
    [0x360, "failover"],
    [0x370, "failover"],
    [0x371, "failover"],
    [0x37f, "failover"],
    [0x008, "failover"],
    [0x005, "failover"],
    [0x004, "retry"],
    [0x006, "retry"],
    [0x007, "retry"],
    [0x021, "retry"],
    [0x022, "failover"],
    [0x082, "retry"],
    [0x7c0, "retry"],
    [0x0ff, "retry"],
    [0x001, "fail"],
    [0x002, "fail"],
    [0x080, "fail"],
    [0x081, "fail"],
    [0x083, "fail"],
    [0x281, "fail"],
    [0x2ff, "fail"],
  ];
  for (const [status, disposition] of cases) assertEquals(statusDisposition(status), disposition, statusWords(status));
});

Deno.test("statusDisposition() fails whatever has Do Not Retry", () => {
  for (let code = 1; code < 0x800; code++) assertEquals(statusDisposition(code | DNR), "fail", statusWords(code));
});

Deno.test("every status has words, an errno that is not negative and a disposition", () => {
  for (let status = 0; status < 0x8000; status++) {
    assert(statusWords(status).length > 6);
    assert(statusErrno(status) >= 0);
    assert((statusErrno(status) === 0) === ((status & 0x7ff) === 0));
    assert(["done", "failover", "retry", "fail"].includes(statusDisposition(status)));
  }
});

Deno.test("retryDelayIndex() reads CRD, not where a retry is forbidden", () => {
  assertEquals([0, 1, 2, 3].map((crd) => retryDelayIndex(0x82 | (crd << 11))), [0, 1, 2, 3]);
  assertEquals(retryDelayIndex(0x82 | (3 << 11) | DNR), 0);
});

Deno.test("connectRefusal() names the bad field by IPO and IATTR (Base 2.0, section 6.3)", () => {
  const inData = (offset: number) => connectRefusal(0x182 | DNR, (1 << 16) | offset).words;
  const inCommand = (offset: number) => connectRefusal(0x182 | DNR, offset).words;
  assertStringIncludes(inData(256), "the target has no such subsystem on this port");
  assertStringIncludes(inData(512), "refuses the host NQN");
  assertStringIncludes(inData(0), "refuses the host identifier");
  assertStringIncludes(inData(16), "refuses the controller ID");
  assertStringIncludes(inData(300), "refuses byte 300 of the connect data");
  assertStringIncludes(inCommand(42), "refuses the queue identifier");
  assertStringIncludes(inCommand(44), "refuses the queue size");
  assertStringIncludes(inCommand(48), "refuses the keep alive timeout");
  assertStringIncludes(inCommand(256), "refuses byte 256 of the connect command");
});

Deno.test("connectRefusal() classifies", () => {
  assertEquals(connectRefusal(0x184 | DNR, 0), {
    kind: "refused",
    words: "this host is not allowed on the subsystem",
    retryable: false,
    about: "names",
  });
  for (const status of [0x181, 0x181 | DNR]) {
    assertEquals(connectRefusal(status, 0), {
      kind: "unreachable",
      words: "the controller is busy, or the target has as many controllers as it allows",
      retryable: true,
      about: "controllers",
    });
  }
  const cases: [status: number, kind: string, retryable: boolean][] = [
    [0x180 | DNR, "refused", false],
    [0x183, "refused", true],
    [0x191, "refused", false],
    [0x01a | DNR, "refused", false],
    [0x006, "unreachable", true],
    [0x006 | DNR, "refused", false],
    [0x7ff, "unreachable", true],
  ];
  for (const [status, kind, retryable] of cases) {
    const refusal = connectRefusal(status, 0);
    assertEquals([refusal.kind, refusal.retryable], [kind, retryable], refusal.words);
  }
});

Deno.test("isLastingRefusal() is true for what a controller does not have, and not for what passes", () => {
  const dnr = DNR;
  assertEquals([0x001, 0x002, 0x002 | dnr, 0x00b | dnr].map(isLastingRefusal), [true, true, true, true]);
  assertEquals([0x006, 0x006 | dnr, 0x082 | dnr, 0x302 | dnr].map(isLastingRefusal), [false, false, false, false]);
  assertEquals([0x0f0, 0x0f0 | dnr].map(isLastingRefusal), [false, true], "a status without words");
});
