/**
 * Sizes and offsets that TypeScript counts on, in the order of `um_layout()` in csrc/um_layout.c.
 * They are compared when the library is opened: a library of another build is refused, not believed.
 */
export const LAYOUT = {
  interfaceVersion: 1,
  ringBytes: 88,
  ringAddr: 16,
  ringSqEntries: 48,
  ringCqes: 84,
  sqeBytes: 64,
  sqeOff: 8,
  sqeAddr: 16,
  sqeLen: 24,
  sqeUserData: 32,
  cqeBytes: 16,
  msghdrBytes: 56,
  msghdrIov: 16,
  msghdrIovlen: 24,
  iovecBytes: 16,
  pollfdBytes: 8,
  ublkCtrlCmdBytes: 32,
  ublkDevInfoBytes: 64,
  ublkIoCmdBytes: 16,
  ublkIoDescBytes: 24,
  opUringCmd: 46,
  eagain: 11,
} as const;
