/**
 * The user API of the kernel's ublk driver, restated: every number and layout that crosses to it, in the words of its
 * header (`linux/ublk_cmd.h`). All fields are little-endian. Parameters are in `ublk_params.ts`.
 */

const IOC_WRITE = 1;
const IOC_READ = 2;
const UBLK_IOC_TYPE = 0x75; // 'u'

const CTRL_CMD_BYTES = 32;
const IO_CMD_BYTES = 16;
const BATCH_IO_BYTES = 16;

/** `_IOC()` of asm-generic/ioctl.h with type 'u'. */
function ioc(direction: number, nr: number, bytes: number): number {
  return ((direction << 30) | (bytes << 16) | (UBLK_IOC_TYPE << 8) | nr) >>> 0;
}

function ior(nr: number, bytes: number): number {
  return ioc(IOC_READ, nr, bytes);
}

function iowr(nr: number, bytes: number): number {
  return ioc(IOC_READ | IOC_WRITE, nr, bytes);
}

/** Control commands, sent through `/dev/ublk-control` (`UBLK_U_CMD_*`). Which are `_IOR` has no system: DEL_DEV_ASYNC is. */
export const UblkCommand = Object.freeze({
  GET_QUEUE_AFFINITY: ior(0x01, CTRL_CMD_BYTES),
  GET_DEV_INFO: ior(0x02, CTRL_CMD_BYTES),
  ADD_DEV: iowr(0x04, CTRL_CMD_BYTES),
  DEL_DEV: iowr(0x05, CTRL_CMD_BYTES),
  START_DEV: iowr(0x06, CTRL_CMD_BYTES),
  STOP_DEV: iowr(0x07, CTRL_CMD_BYTES),
  SET_PARAMS: iowr(0x08, CTRL_CMD_BYTES),
  GET_PARAMS: ior(0x09, CTRL_CMD_BYTES),
  START_USER_RECOVERY: iowr(0x10, CTRL_CMD_BYTES),
  END_USER_RECOVERY: iowr(0x11, CTRL_CMD_BYTES),
  GET_DEV_INFO2: ior(0x12, CTRL_CMD_BYTES),
  GET_FEATURES: ior(0x13, CTRL_CMD_BYTES),
  DEL_DEV_ASYNC: ior(0x14, CTRL_CMD_BYTES),
  UPDATE_SIZE: iowr(0x15, CTRL_CMD_BYTES),
  QUIESCE_DEV: iowr(0x16, CTRL_CMD_BYTES),
  TRY_STOP_DEV: iowr(0x17, CTRL_CMD_BYTES),
});

/** Name of a control command. */
export type UblkCommandName = keyof typeof UblkCommand;

/** I/O commands, sent through `/dev/ublkcN` (`UBLK_U_IO_*`). */
export const UblkIoCommand = Object.freeze({
  FETCH_REQ: iowr(0x20, IO_CMD_BYTES),
  COMMIT_AND_FETCH_REQ: iowr(0x21, IO_CMD_BYTES),
  NEED_GET_DATA: iowr(0x22, IO_CMD_BYTES),
  REGISTER_IO_BUF: iowr(0x23, IO_CMD_BYTES),
  UNREGISTER_IO_BUF: iowr(0x24, IO_CMD_BYTES),
  PREP_IO_CMDS: iowr(0x25, BATCH_IO_BYTES),
  COMMIT_IO_CMDS: iowr(0x26, BATCH_IO_BYTES),
  FETCH_IO_CMDS: iowr(0x27, BATCH_IO_BYTES),
});

/** A command's number without ioctl encoding, as drivers before Linux 6.4 take it (`UBLK_CMD_*`, `UBLK_IO_*`). */
export function legacyOp(op: number): number {
  return op & 0xff;
}

/** What a completed I/O command says (`UBLK_IO_RES_*`). ABORT is the only one after which the tag is not fetched again. */
export const UblkIoResult = Object.freeze({ OK: 0, NEED_GET_DATA: 1, ABORT: -19 });

/** Operation of a request: low 8 bits of `op_flags` (`UBLK_IO_OP_*`). */
export const UblkIoOp = Object.freeze({
  READ: 0,
  WRITE: 1,
  FLUSH: 2,
  DISCARD: 3,
  WRITE_SAME: 4,
  WRITE_ZEROES: 5,
  ZONE_OPEN: 10,
  ZONE_CLOSE: 11,
  ZONE_FINISH: 12,
  ZONE_APPEND: 13,
  ZONE_RESET_ALL: 14,
  ZONE_RESET: 15,
  REPORT_ZONES: 18,
});

/** Mask of the operation in `op_flags`. */
export const UBLK_IO_OP_MASK = 0xff;

/** Flags of a request in `op_flags` (`UBLK_IO_F_*`). */
export const UblkIoFlag = Object.freeze({
  FAILFAST_DEV: 1 << 8,
  FAILFAST_TRANSPORT: 1 << 9,
  FAILFAST_DRIVER: 1 << 10,
  META: 1 << 11,
  FUA: 1 << 13,
  NOUNMAP: 1 << 15,
  SWAP: 1 << 16,
  NEED_REG_BUF: 1 << 17,
  INTEGRITY: 1 << 18,
  SHMEM_ZC: 1 << 19,
});

/** Features of the driver and of a device (`UBLK_F_*`), bits of a 64-bit word. */
export const UblkFeature = Object.freeze({
  SUPPORT_ZERO_COPY: 1n << 0n,
  URING_CMD_COMP_IN_TASK: 1n << 1n,
  NEED_GET_DATA: 1n << 2n,
  USER_RECOVERY: 1n << 3n,
  USER_RECOVERY_REISSUE: 1n << 4n,
  UNPRIVILEGED_DEV: 1n << 5n,
  CMD_IOCTL_ENCODE: 1n << 6n,
  USER_COPY: 1n << 7n,
  ZONED: 1n << 8n,
  USER_RECOVERY_FAIL_IO: 1n << 9n,
  UPDATE_SIZE: 1n << 10n,
  AUTO_BUF_REG: 1n << 11n,
  QUIESCE: 1n << 12n,
  PER_IO_DAEMON: 1n << 13n,
  BUF_REG_OFF_DAEMON: 1n << 14n,
  BATCH_IO: 1n << 15n,
  INTEGRITY: 1n << 16n,
  SAFE_STOP_DEV: 1n << 17n,
  NO_AUTO_PART_SCAN: 1n << 18n,
  SHMEM_ZC: 1n << 19n,
});

/** State of a device in `ublksrv_ctrl_dev_info.state` (`UBLK_S_DEV_*`). */
export const UblkDeviceState = Object.freeze({ DEAD: 0, LIVE: 1, QUIESCED: 2, FAIL_IO: 3 });

/** Sizes that the C library compares with its own declarations when it is opened. */
export const UBLK_LAYOUT = Object.freeze({
  ctrlCmdBytes: CTRL_CMD_BYTES,
  devInfoBytes: 64,
  ioDescBytes: 24,
  ioCmdBytes: IO_CMD_BYTES,
  paramsBytes: 152,
});

/** Byte offsets in `struct ublksrv_ctrl_dev_info`, 64 bytes. */
export const UblkDevInfo = Object.freeze({
  nrHwQueues: 0,
  queueDepth: 2,
  state: 4,
  maxIoBufBytes: 8,
  devId: 12,
  ublksrvPid: 16,
  flags: 24,
  ublksrvFlags: 32,
  ownerUid: 40,
  ownerGid: 44,
});

/** Offsets in `struct ublksrv_io_desc`, 24 bytes, counted in 32-bit words. */
export const UblkIoDesc = Object.freeze({
  words: 6,
  opFlags: 0,
  nrSectors: 1,
  startSectorLow: 2,
  startSectorHigh: 3,
  addrLow: 4,
  addrHigh: 5,
});

/** `queue_id` of a control command that is for the device, not for a queue. */
export const UBLK_NO_QUEUE = 0xffff;
/** `dev_id` of an ADD_DEV that leaves the choice to the driver. */
export const UBLK_ANY_DEVICE = 0xffff_ffff;
/** Bytes of the answer to GET_FEATURES (`UBLK_FEATURES_LEN`). */
export const UBLK_FEATURES_BYTES = 8;
/** Deepest queue (`UBLK_MAX_QUEUE_DEPTH`). */
export const UBLK_QUEUE_DEPTH_MAX = 4096;
/** Most queues of a device (`UBLK_MAX_NR_QUEUES`). */
export const UBLK_QUEUES_MAX = 4096;
/** Largest I/O in bytes (`UBLK_IO_BUF_BITS`). */
export const UBLK_IO_BYTES_MAX = 1 << 25;
/** Unit of every sector count of ublk, log2 of bytes, whatever the logical block size is. */
export const SECTOR_SHIFT = 9;

/** Where the descriptors of a queue begin in the mapping of `/dev/ublkcN`, in bytes: every queue has room for the deepest. */
export function descriptorsOffset(queueId: number, pageBytes: number): number {
  return queueId * roundUp(UBLK_QUEUE_DEPTH_MAX * UBLK_LAYOUT.ioDescBytes, pageBytes);
}

/** Bytes to map for the descriptors of a queue; the driver takes no other length. */
export function descriptorsBytes(depth: number, pageBytes: number): number {
  return roundUp(depth * UBLK_LAYOUT.ioDescBytes, pageBytes);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
