/**
 * Requests of the FUSE driver, byte for byte as linux/fuse.h lays them out (Linux 6.12), written without src/protocol so that
 * one wrong number there is noticed.
 */

/** `struct fuse_in_header`, 40 bytes, then what is given. */
export interface RequestOptions {
  opcode: number;
  unique?: bigint;
  nodeId?: bigint;
  body?: Uint8Array;
  /** What the header says of the length, if not the truth. */
  len?: number;
}

const IN_HEADER_BYTES = 40;

export function request(
  { opcode, unique = 7n, nodeId = 1n, body = new Uint8Array(0), len }: RequestOptions,
): Uint8Array {
  const bytes = new Uint8Array(IN_HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, len ?? bytes.length, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(8, unique, true);
  view.setBigUint64(16, nodeId, true);
  view.setUint32(24, 1000, true); // uid
  view.setUint32(28, 1001, true); // gid
  view.setUint32(32, 4321, true); // pid
  bytes.set(body, IN_HEADER_BYTES);
  return bytes;
}

/** `struct fuse_init_in`: major, minor, max_readahead, flags, flags2, unused[11]. */
export function initRequest(
  { major = 7, minor = 41, maxReadahead = 131072, flags = 0xffffffff, opcode = 26, unique = 2n } = {},
): Uint8Array {
  const body = new Uint8Array(64);
  const view = new DataView(body.buffer);
  [major, minor, maxReadahead, flags].forEach((value, i) => view.setUint32(4 * i, value, true));
  return request({ opcode, unique, body });
}

/** `struct fuse_read_in` or, without its data, `fuse_write_in`: fh, offset, size, flags, lock_owner, flags, padding. */
export function transferBody(offset: bigint, size: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const body = new Uint8Array(40 + data.length);
  const view = new DataView(body.buffer);
  view.setBigUint64(8, offset, true);
  view.setUint32(16, size, true);
  body.set(data, 40);
  return body;
}

/** `struct fuse_fallocate_in`: fh, offset, length, mode, padding. */
export function fallocateBody(offset: bigint, length: bigint, mode: number): Uint8Array {
  const body = new Uint8Array(32);
  const view = new DataView(body.buffer);
  view.setBigUint64(8, offset, true);
  view.setBigUint64(16, length, true);
  view.setUint32(24, mode, true);
  return body;
}

/** `struct fuse_open_in`: flags, open_flags. */
export function openBody(flags: number): Uint8Array {
  const body = new Uint8Array(8);
  new DataView(body.buffer).setUint32(0, flags, true);
  return body;
}
