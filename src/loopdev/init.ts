import { FUSE_LAYOUT, FUSE_MINOR, FUSE_MINOR_MIN, FUSE_VERSION, FuseInHeader, FuseInit } from "../protocol/fuse.ts";
import { FuseInitIn, FuseInitOut, FuseOp } from "../protocol/fuse.ts";

/** What the loop device counts on: large requests, several of them in flight. The page cache is the loop device's. */
const FLAGS_NEEDED = FuseInit.ASYNC_DIO | FuseInit.MAX_PAGES;
const FLAGS_WANTED = FLAGS_NEEDED | FuseInit.ASYNC_READ | FuseInit.BIG_WRITES;

/** Part of `maxBackground` from which on the driver calls itself congested: as it does it by default. */
const CONGESTION_SHARE = 0.75;
const UINT16_MAX = 0xffff;

/** What the driver is told. */
export interface InitOptions {
  /** Largest READ or WRITE in bytes: what a slot's buffer holds. */
  requestBytes: number;
  /** Requests in flight at most. */
  maxBackground: number;
  /** Page size of the host in bytes. */
  pageBytes: number;
}

/** The first request of a mount: the answer to it, or why there is none. */
export type InitAnswer = { answer: Uint8Array<ArrayBuffer>; failure: null } | { answer: null; failure: string };

/** Answers INIT, which the driver sends once, before anything else; `request` is what was read. */
export function answerInit(request: Uint8Array, options: InitOptions): InitAnswer {
  const bodyBytes = (FuseInitIn.flags + 1) * 4;
  if (request.length < FUSE_LAYOUT.inHeaderBytes + bodyBytes) return refusal(`it begins with ${request.length} bytes`);
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const header = (word: number) => view.getUint32(word * 4, true);
  const body = (word: number) => view.getUint32(FUSE_LAYOUT.inHeaderBytes + word * 4, true);
  if (header(FuseInHeader.opcode) !== FuseOp.INIT) {
    return refusal(`it begins with operation ${header(FuseInHeader.opcode)}`);
  }
  const major = body(FuseInitIn.major);
  const minor = body(FuseInitIn.minor);
  if (major !== FUSE_VERSION || minor < FUSE_MINOR_MIN) return refusal(`it speaks version ${major}.${minor}`);
  const flags = body(FuseInitIn.flags) & FLAGS_WANTED;
  if ((flags & FLAGS_NEEDED) !== FLAGS_NEEDED) return refusal("it lacks large requests or asynchronous direct I/O");
  const answer = new Uint8Array(FUSE_LAYOUT.outHeaderBytes + FUSE_LAYOUT.initOutBytes);
  const out = new DataView(answer.buffer);
  out.setUint32(0, answer.length, true);
  out.setBigUint64(8, view.getBigUint64(FuseInHeader.uniqueLow * 4, true), true);
  writeInit(new DataView(answer.buffer, FUSE_LAYOUT.outHeaderBytes), options, {
    minor: Math.min(minor, FUSE_MINOR),
    maxReadahead: body(FuseInitIn.maxReadahead),
    flags,
  });
  return { answer, failure: null };
}

function writeInit(
  out: DataView,
  { requestBytes, maxBackground, pageBytes }: InitOptions,
  agreed: { minor: number; maxReadahead: number; flags: number },
): void {
  const background = Math.min(maxBackground, UINT16_MAX);
  out.setUint32(FuseInitOut.major, FUSE_VERSION, true);
  out.setUint32(FuseInitOut.minor, agreed.minor, true);
  out.setUint32(FuseInitOut.maxReadahead, agreed.maxReadahead, true);
  out.setUint32(FuseInitOut.flags, agreed.flags, true);
  out.setUint16(FuseInitOut.maxBackground, background, true);
  out.setUint16(FuseInitOut.congestionThreshold, Math.ceil(background * CONGESTION_SHARE), true);
  out.setUint32(FuseInitOut.maxWrite, requestBytes, true);
  out.setUint32(FuseInitOut.timeGran, 1, true);
  out.setUint16(FuseInitOut.maxPages, requestBytes / pageBytes, true);
}

function refusal(why: string): InitAnswer {
  return { answer: null, failure: why };
}
