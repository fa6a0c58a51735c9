import { assert } from "../base/assert.ts";
import { UBLK_LAYOUT, UblkDevInfo } from "../protocol/ublk.ts";

/**
 * `ublksrv_flags` is the server's own; umpath keeps its name ("umpa"), the pid of the process that added the device (a
 * kernel has at most 2^22), and a serial number which tells the devices of that process apart.
 */
const OWNER_MARK = 0x756d7061n;
const PID_BITS = 22n;
const PID_MASK = (1n << PID_BITS) - 1n;
const SERIAL_MASK = 0x3ffn;

/** `struct ublksrv_ctrl_dev_info`: what ADD_DEV is asked and gives back, and what GET_DEV_INFO gives. */
export interface DeviceInfo {
  /** Number of the device, or `UBLK_ANY_DEVICE` in an ADD_DEV that leaves the choice to the driver. */
  devId: number;
  queues: number;
  depth: number;
  /** One of `UblkDeviceState`. */
  state: number;
  /** Largest I/O in bytes. */
  maxIoBytes: number;
  /** The server as the kernel knows it; -1 if there is none. */
  serverPid: number;
  /** Bits of `UblkFeature`. */
  features: bigint;
  /** The umpath process that added the device, as it calls itself; null if another program did. */
  ownerPid: number | null;
  /** What the server has said of itself: no other device of one number has the same. */
  ownerMark: bigint;
}

/** What ADD_DEV is to make: `ublksrv_ctrl_dev_info` for a device that process `pid` owns. */
export function encodeDeviceInfo(
  device: Pick<DeviceInfo, "devId" | "queues" | "depth" | "maxIoBytes" | "features"> & { pid: number; serial?: number },
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(UBLK_LAYOUT.devInfoBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(UblkDevInfo.nrHwQueues, device.queues, true);
  view.setUint16(UblkDevInfo.queueDepth, device.depth, true);
  view.setUint32(UblkDevInfo.maxIoBufBytes, device.maxIoBytes, true);
  view.setUint32(UblkDevInfo.devId, device.devId, true);
  view.setInt32(UblkDevInfo.ublksrvPid, device.pid, true);
  view.setBigUint64(UblkDevInfo.flags, device.features, true);
  view.setBigUint64(UblkDevInfo.ublksrvFlags, ownerMark(device), true);
  return bytes;
}

function ownerMark({ pid, serial = 0 }: { pid: number; serial?: number }): bigint {
  return (OWNER_MARK << 32n) | (BigInt(serial) & SERIAL_MASK) << PID_BITS | BigInt(pid);
}

/** Reads `ublksrv_ctrl_dev_info`, 64 bytes that the kernel has filled. */
export function decodeDeviceInfo(bytes: Uint8Array): DeviceInfo {
  assert(bytes.length === UBLK_LAYOUT.devInfoBytes, "A device info is read from a buffer of its size");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const mark = view.getBigUint64(UblkDevInfo.ublksrvFlags, true);
  return {
    devId: view.getUint32(UblkDevInfo.devId, true),
    queues: view.getUint16(UblkDevInfo.nrHwQueues, true),
    depth: view.getUint16(UblkDevInfo.queueDepth, true),
    state: view.getUint16(UblkDevInfo.state, true),
    maxIoBytes: view.getUint32(UblkDevInfo.maxIoBufBytes, true),
    serverPid: view.getInt32(UblkDevInfo.ublksrvPid, true),
    features: view.getBigUint64(UblkDevInfo.flags, true),
    ownerPid: mark >> 32n === OWNER_MARK ? Number(mark & PID_MASK) : null,
    ownerMark: mark,
  };
}
