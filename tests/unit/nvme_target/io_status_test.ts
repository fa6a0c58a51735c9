import { assertEquals } from "@std/assert";
import * as errnos from "../../../src/base/errno.ts";
import { StatusCode, StatusField } from "../../../src/protocol/nvme_status.ts";
import { anaStatus, errnoStatus } from "../../../src/nvme_target/io_status.ts";

Deno.test("errnoStatus() tells a full device, a bad medium and a protected one from everything else", () => {
  const { DNR } = StatusField;
  const both = (errno: number) => [errnoStatus(errno, true), errnoStatus(errno, false)];
  const twice = (status: number) => [status, status];
  assertEquals(both(0), twice(StatusCode.SUCCESS));
  assertEquals(both(errnos.EIO), [StatusCode.UNRECOVERED_READ_ERROR, StatusCode.WRITE_FAULT]);
  assertEquals(both(errnos.ENODATA), [StatusCode.UNRECOVERED_READ_ERROR, StatusCode.WRITE_FAULT]);
  for (const errno of [errnos.ENOSPC, errnos.EDQUOT, errnos.EFBIG]) {
    assertEquals(both(errno), twice(StatusCode.CAPACITY_EXCEEDED | DNR));
  }
  for (const errno of [errnos.EROFS, errnos.EPERM, errnos.EACCES]) {
    assertEquals(both(errno), [StatusCode.INTERNAL_ERROR, StatusCode.NAMESPACE_WRITE_PROTECTED | DNR]);
  }
  assertEquals(both(errnos.EOPNOTSUPP), twice(StatusCode.INVALID_OPCODE | DNR));
  for (const errno of [errnos.ENOMEM, errnos.EINTR, errnos.EAGAIN, errnos.EINVAL, errnos.ENODEV, 4095]) {
    assertEquals(both(errno), twice(StatusCode.INTERNAL_ERROR));
  }
});

Deno.test("anaStatus() refuses a state that no listener should have", () => {
  for (const state of [0, 5, 14, 16, -1]) assertEquals(anaStatus(state), StatusCode.INTERNAL_PATH_ERROR);
});
