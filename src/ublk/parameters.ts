import type { Geometry } from "../block/device.ts";
import { SECTOR_SHIFT, UBLK_IO_BYTES_MAX } from "../protocol/ublk.ts";
import {
  UBLK_DISCARD_SECTORS_MAX,
  UBLK_PARAMS_SET_BYTES,
  UblkAttr,
  UblkParams,
  UblkParamType,
} from "../protocol/ublk_params.ts";

const SECTOR_BYTES = 1 << SECTOR_SHIFT;
/** The block layer counts a device's bytes in a signed 64-bit number. */
const DEVICE_SECTORS_MAX = 2n ** 54n - 1n;
/** Block sizes that a request's buffer and the kernel's pages can hold on every machine. */
const BLOCK_SIZES = [512, 1024, 2048, 4096];
/** `1 << shift` must stay a positive 32-bit number in the driver. */
const SHIFT_MAX = 30;

/** A geometry that the driver would refuse, in words. What a storage system says of a namespace can be anything. */
export class ParameterError extends Error {
  override name = "ParameterError";
}

/** What besides the geometry decides a device's parameters. */
export interface ParameterOptions {
  /** Largest I/O in bytes: what a request's buffer holds, and at most the `max_io_buf_bytes` that ADD_DEV gave back. */
  maxIoBytes: number;
  /** Page size of the host in bytes; 4096 unless told. */
  pageBytes?: number;
}

/** The parts of `struct ublk_params` that umpath sets. Sectors are 512 bytes. */
export interface DeviceParameters {
  /** Bits of `UblkParamType`. */
  types: number;
  /** Bits of `UblkAttr`. */
  attrs: number;
  logicalBlockShift: number;
  physicalBlockShift: number;
  optimalIoShift: number;
  minIoShift: number;
  maxSectors: number;
  deviceSectors: bigint;
  discardGranularity: number;
  maxDiscardSectors: number;
  maxWriteZeroesSectors: number;
}

/**
 * The parameters of a device of this geometry, within the limits of the driver. Throws {@linkcode ParameterError} for
 * a geometry that no kernel device can have.
 */
export function deviceParameters(geometry: Geometry, options: ParameterOptions): DeviceParameters {
  const logicalBlockShift = logicalShift(geometry.blockSize);
  const physicalBlockShift = Math.max(logicalBlockShift, floorShift(geometry.physicalBlockSize));
  const maxSectors = maxIoSectors(geometry, options);
  const maxIoShift = floorShift(maxSectors * SECTOR_BYTES);
  // The driver takes a shift of 0 for hints of one byte, so "not told" is the physical block.
  const hintShift = (bytes: number) => Math.max(physicalBlockShift, Math.min(floorShift(bytes), maxIoShift));
  const maxDiscardSectors = rangeSectors(geometry.maxDiscardBytes, geometry.blockSize);
  const maxWriteZeroesSectors = rangeSectors(geometry.maxWriteZeroesBytes, geometry.blockSize);
  const discards = maxDiscardSectors > 0 || maxWriteZeroesSectors > 0;
  return {
    types: UblkParamType.BASIC | (discards ? UblkParamType.DISCARD : 0),
    attrs: attributes(geometry),
    logicalBlockShift,
    physicalBlockShift,
    optimalIoShift: hintShift(geometry.optimalIoBytes),
    minIoShift: hintShift(geometry.minIoBytes),
    maxSectors,
    deviceSectors: deviceSectors(geometry),
    discardGranularity: discards ? granularity(geometry) : 0,
    maxDiscardSectors,
    maxWriteZeroesSectors,
  };
}

/** `struct ublk_params` for SET_PARAMS, up to the last part that is set. Throws {@linkcode ParameterError}. */
export function encodeParameters(geometry: Geometry, options: ParameterOptions): Uint8Array<ArrayBuffer> {
  const parameters = deviceParameters(geometry, options);
  const bytes = new Uint8Array(UBLK_PARAMS_SET_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(UblkParams.len, bytes.length, true);
  view.setUint32(UblkParams.types, parameters.types, true);
  view.setUint32(UblkParams.attrs, parameters.attrs, true);
  view.setUint8(UblkParams.logicalBsShift, parameters.logicalBlockShift);
  view.setUint8(UblkParams.physicalBsShift, parameters.physicalBlockShift);
  view.setUint8(UblkParams.ioOptShift, parameters.optimalIoShift);
  view.setUint8(UblkParams.ioMinShift, parameters.minIoShift);
  view.setUint32(UblkParams.maxSectors, parameters.maxSectors, true);
  view.setBigUint64(UblkParams.devSectors, parameters.deviceSectors, true);
  if ((parameters.types & UblkParamType.DISCARD) !== 0) {
    view.setUint32(UblkParams.discardGranularity, parameters.discardGranularity, true);
    view.setUint32(UblkParams.maxDiscardSectors, parameters.maxDiscardSectors, true);
    view.setUint32(UblkParams.maxWriteZeroesSectors, parameters.maxWriteZeroesSectors, true);
    view.setUint16(UblkParams.maxDiscardSegments, 1, true);
  }
  return bytes;
}

/** What GET_PARAMS, or {@linkcode encodeParameters}, gave. Throws {@linkcode ParameterError} if it is too short. */
export function decodeParameters(bytes: Uint8Array): DeviceParameters {
  if (bytes.length < UBLK_PARAMS_SET_BYTES) {
    throw new ParameterError(
      `Cannot read ublk parameters of ${bytes.length} bytes: ${UBLK_PARAMS_SET_BYTES} are needed`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    types: view.getUint32(UblkParams.types, true),
    attrs: view.getUint32(UblkParams.attrs, true),
    logicalBlockShift: view.getUint8(UblkParams.logicalBsShift),
    physicalBlockShift: view.getUint8(UblkParams.physicalBsShift),
    optimalIoShift: view.getUint8(UblkParams.ioOptShift),
    minIoShift: view.getUint8(UblkParams.ioMinShift),
    maxSectors: view.getUint32(UblkParams.maxSectors, true),
    deviceSectors: view.getBigUint64(UblkParams.devSectors, true),
    discardGranularity: view.getUint32(UblkParams.discardGranularity, true),
    maxDiscardSectors: view.getUint32(UblkParams.maxDiscardSectors, true),
    maxWriteZeroesSectors: view.getUint32(UblkParams.maxWriteZeroesSectors, true),
  };
}

function logicalShift(blockSize: number): number {
  if (!BLOCK_SIZES.includes(blockSize)) {
    throw new ParameterError(
      `Cannot make a kernel device of ${blockSize}-byte blocks: they are 512 to 4096, a power of two`,
    );
  }
  return floorShift(blockSize);
}

function attributes(geometry: Geometry): number {
  return (geometry.readOnly ? UblkAttr.READ_ONLY : 0) |
    (geometry.volatileCache ? UblkAttr.VOLATILE_CACHE | UblkAttr.FUA : 0);
}

/** Whole pages, as the driver rounds its own limit; it takes no device with less than a page. */
function maxIoSectors(geometry: Geometry, options: ParameterOptions): number {
  const unit = Math.max(options.pageBytes ?? 4096, geometry.blockSize);
  const bytes = floorTo(Math.min(options.maxIoBytes, UBLK_IO_BYTES_MAX), unit);
  if (!(bytes > 0)) {
    throw new ParameterError(
      `Cannot make a kernel device with I/O of at most ${options.maxIoBytes} bytes: a page is ${unit}`,
    );
  }
  return bytes / SECTOR_BYTES;
}

export function deviceSectors(geometry: Geometry): bigint {
  if (!Number.isInteger(geometry.blocks) || geometry.blocks <= 0 || geometry.blocks > 2 ** 53) {
    throw new ParameterError(`Cannot make a kernel device of ${geometry.blocks} blocks`);
  }
  const sectors = BigInt(geometry.blocks) * BigInt(geometry.blockSize / SECTOR_BYTES);
  if (sectors > DEVICE_SECTORS_MAX) {
    throw new ParameterError(
      `Cannot make a kernel device of ${geometry.blocks} blocks of ${geometry.blockSize} bytes: 2^63 bytes are too many`,
    );
  }
  return sectors;
}

/** A DISCARD or WRITE_ZEROES limit in sectors: whole blocks, and few enough that their bytes fit 32 bits. */
function rangeSectors(bytes: number, blockSize: number): number {
  if (!(bytes >= 0)) throw new ParameterError(`Cannot make a kernel device that zeroes ${bytes} bytes at once`);
  return floorTo(Math.min(bytes, UBLK_DISCARD_SECTORS_MAX * SECTOR_BYTES), blockSize) / SECTOR_BYTES;
}

/** The driver refuses a granularity of 0, and the block layer wants whole blocks. */
function granularity(geometry: Geometry): number {
  const { discardGranularity, blockSize } = geometry;
  if (!(discardGranularity >= 0) || discardGranularity % blockSize !== 0 || discardGranularity > 2 ** SHIFT_MAX) {
    throw new ParameterError(
      `Cannot make a kernel device that discards in units of ${discardGranularity} bytes: its blocks have ${blockSize}`,
    );
  }
  return Math.max(discardGranularity, blockSize);
}

/** log2 of the largest power of two that is not above `bytes`; 0 for less than 2. */
function floorShift(bytes: number): number {
  return bytes >= 2 ? Math.min(Math.floor(Math.log2(bytes)), SHIFT_MAX) : 0;
}

function floorTo(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}
