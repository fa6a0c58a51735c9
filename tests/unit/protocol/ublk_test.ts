import { assertEquals } from "@std/assert";
import {
  descriptorsBytes,
  descriptorsOffset,
  legacyOp,
  UBLK_LAYOUT,
  UblkCommand,
  UblkDevInfo,
  UblkFeature,
  UblkIoCommand,
  UblkIoFlag,
} from "../../../src/protocol/ublk.ts";
import { UBLK_DISCARD_SECTORS_MAX, UblkParams, UblkParamsPart } from "../../../src/protocol/ublk_params.ts";

// Provenance: facts gathered from the header that ublksrv carries, worked out apart from src/protocol.
const COMMANDS: Record<keyof typeof UblkCommand, number> = {
  GET_QUEUE_AFFINITY: 0x80207501,
  GET_DEV_INFO: 0x80207502,
  ADD_DEV: 0xc0207504,
  DEL_DEV: 0xc0207505,
  START_DEV: 0xc0207506,
  STOP_DEV: 0xc0207507,
  SET_PARAMS: 0xc0207508,
  GET_PARAMS: 0x80207509,
  START_USER_RECOVERY: 0xc0207510,
  END_USER_RECOVERY: 0xc0207511,
  GET_DEV_INFO2: 0x80207512,
  GET_FEATURES: 0x80207513,
  DEL_DEV_ASYNC: 0x80207514,
  UPDATE_SIZE: 0xc0207515,
  QUIESCE_DEV: 0xc0207516,
  TRY_STOP_DEV: 0xc0207517,
};

const IO_COMMANDS: Record<keyof typeof UblkIoCommand, number> = {
  FETCH_REQ: 0xc0107520,
  COMMIT_AND_FETCH_REQ: 0xc0107521,
  NEED_GET_DATA: 0xc0107522,
  REGISTER_IO_BUF: 0xc0107523,
  UNREGISTER_IO_BUF: 0xc0107524,
  PREP_IO_CMDS: 0xc0107525,
  COMMIT_IO_CMDS: 0xc0107526,
  FETCH_IO_CMDS: 0xc0107527,
};

Deno.test("UblkCommand has the header's ioctl encodings", () => assertEquals<unknown>(UblkCommand, COMMANDS));

Deno.test("UblkIoCommand has the header's ioctl encodings", () => assertEquals<unknown>(UblkIoCommand, IO_COMMANDS));

Deno.test("legacyOp() is the bare command number", () => {
  assertEquals(legacyOp(UblkCommand.ADD_DEV), 4);
  assertEquals(legacyOp(UblkIoCommand.COMMIT_AND_FETCH_REQ), 0x21);
});

Deno.test("UblkFeature and UblkIoFlag have the header's bits", () => {
  assertEquals(UblkFeature.CMD_IOCTL_ENCODE, 64n);
  assertEquals(UblkFeature.SHMEM_ZC, 0x80000n);
  assertEquals(Object.keys(UblkFeature).length, 20);
  assertEquals(UblkIoFlag.FUA, 0x2000);
  assertEquals(UblkIoFlag.NOUNMAP, 0x8000);
  assertEquals(UblkIoFlag.NEED_REG_BUF, 0x20000);
});

Deno.test("descriptorsOffset() leaves room for the deepest queue in whole pages", () => {
  assertEquals(descriptorsOffset(0, 4096), 0);
  assertEquals(descriptorsOffset(3, 4096), 3 * 98304);
  assertEquals(descriptorsOffset(3, 65536), 3 * 131072);
});

Deno.test("descriptorsBytes() is whole pages", () => {
  assertEquals(descriptorsBytes(1, 4096), 4096);
  assertEquals(descriptorsBytes(128, 4096), 4096);
  assertEquals(descriptorsBytes(171, 4096), 8192);
  assertEquals(descriptorsBytes(128, 65536), 65536);
});

Deno.test("UBLK_LAYOUT holds the layouts", () => {
  assertEquals(UblkDevInfo.ownerGid + 4 + 16, UBLK_LAYOUT.devInfoBytes);
  assertEquals(UblkParams.maxDiscardSegments + 4, UblkParamsPart.DEVT);
  assertEquals(UblkParamsPart.INTEGRITY + 16, UBLK_LAYOUT.paramsBytes);
  assertEquals(UBLK_DISCARD_SECTORS_MAX, 8388607);
});
