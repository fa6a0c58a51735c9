/**
 * The graft: a copy of the deno executable with an entry stub and a payload, one file that runs by itself.
 *
 *     0        deno, unchanged but for e_entry, e_phoff, e_phnum and the missing section headers
 *              padding, so that from here on file offset = address
 *     stub     the entry stub                            segment r-x
 *     headers  program headers, config, embedded files   segment r--
 */
import { encodeStubConfig, roundUp, type StubConfig } from "./build_config.ts";
import { Elf, PF_R, PF_X, PROGRAM_HEADER_BYTES, PT_LOAD, PT_PHDR } from "./build_elf.ts";

/** What the grafted program is made of. */
export interface Graft extends Omit<StubConfig, "start" | "environSlot"> {
  /** The deno executable to copy. */
  runtime: string;
  /** The compiled entry stub. */
  stub: Uint8Array<ArrayBuffer>;
}

/** Where the new parts lie: both file offset and address. */
interface Layout {
  stub: number;
  headers: number;
  config: number;
}

const STUB_MAGIC = "UMSTUB01", STUB_HEADER_BYTES = 24;
const ADDED_SEGMENTS = 2;

/** Writes the grafted program to `output` and returns its size in bytes. */
export function graft(parts: Graft, output: string): number {
  const elf = new Elf(Deno.readFileSync(parts.runtime), parts.runtime);
  const layout = layOut(elf, parts.stub.length);
  const config = encodeStubConfig({ ...parts, start: elf.entry, environSlot: elf.gotSlot("environ") });
  const end = layout.config + config.length;
  const headers = encodeProgramHeaders(elf, layout, { stubBytes: parts.stub.length, end });
  const stub = pointStub(parts.stub, layout);
  patchElfHeader(elf, layout);
  writeParts(output, [[0, elf.bytes], [layout.stub, stub], [layout.headers, headers], [layout.config, config]]);
  return end;
}

/** Places the new parts after the image; with offset = address, AT_PHDR is right on kernels before 5.18 too. */
function layOut(elf: Elf, stubBytes: number): Layout {
  const imageEnd = Math.max(elf.bytes.length, ...elf.loads.map((load) => load.address + load.memoryBytes));
  const stub = roundUp(imageEnd, elf.pageBytes);
  const headers = stub + roundUp(stubBytes, elf.pageBytes);
  const headersBytes = (elf.programHeaders.length + ADDED_SEGMENTS) * PROGRAM_HEADER_BYTES;
  return { stub, headers, config: headers + roundUp(headersBytes, 64) };
}

/** The old program headers, PT_PHDR moved, and the two new segments after the last mapped one. */
function encodeProgramHeaders(elf: Elf, layout: Layout, sizes: { stubBytes: number; end: number }): Uint8Array {
  const table: Uint8Array[] = [];
  const lastLoad = elf.loads.at(-1);
  const tableBytes = (elf.programHeaders.length + ADDED_SEGMENTS) * PROGRAM_HEADER_BYTES;
  for (const header of elf.programHeaders) {
    if (header.type === PT_PHDR) table.push(segment(PT_PHDR, PF_R, layout.headers, tableBytes, 8));
    else table.push(elf.bytes.slice(header.at, header.at + PROGRAM_HEADER_BYTES));
    if (header.at !== lastLoad?.at) continue;
    table.push(segment(PT_LOAD, PF_R | PF_X, layout.stub, sizes.stubBytes, elf.pageBytes));
    table.push(segment(PT_LOAD, PF_R, layout.headers, sizes.end - layout.headers, elf.pageBytes));
  }
  const bytes = new Uint8Array(tableBytes);
  table.forEach((header, i) => bytes.set(header, i * PROGRAM_HEADER_BYTES));
  return bytes;
}

function segment(type: number, flags: number, address: number, size: number, alignment: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(PROGRAM_HEADER_BYTES));
  view.setUint32(0, type, true);
  view.setUint32(4, flags, true);
  // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
  [address, address, address, size, size, alignment].forEach((value, i) =>
    view.setBigUint64(8 + 8 * i, BigInt(value), true)
  );
  return new Uint8Array(view.buffer);
}

/** The stub with its own address and that of its config. */
function pointStub(code: Uint8Array<ArrayBuffer>, layout: Layout): Uint8Array {
  if (new TextDecoder().decode(code.subarray(0, STUB_MAGIC.length)) !== STUB_MAGIC) {
    throw new Error(`Cannot graft: the compiled entry stub does not begin with "${STUB_MAGIC}"`);
  }
  const stub = code.slice();
  const view = new DataView(stub.buffer);
  view.setBigUint64(8, BigInt(layout.stub), true);
  view.setBigUint64(16, BigInt(layout.config), true);
  return stub;
}

/** Enters the stub first, and drops the section headers: GNU strip would follow them and silently cut the graft off. */
function patchElfHeader(elf: Elf, layout: Layout): void {
  elf.view.setBigUint64(24, BigInt(layout.stub + STUB_HEADER_BYTES), true); // e_entry
  elf.view.setBigUint64(32, BigInt(layout.headers), true); // e_phoff
  elf.view.setBigUint64(40, 0n, true); // e_shoff
  elf.view.setUint16(56, elf.programHeaders.length + ADDED_SEGMENTS, true); // e_phnum
  elf.view.setUint16(60, 0, true); // e_shnum
  elf.view.setUint16(62, 0, true); // e_shstrndx
}

function writeParts(output: string, parts: Array<[offset: number, bytes: Uint8Array]>): void {
  using file = Deno.openSync(output, { write: true, create: true, truncate: true, mode: 0o755 });
  for (const [offset, bytes] of parts) {
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let written = 0; written < bytes.length;) written += file.writeSync(bytes.subarray(written));
  }
  Deno.chmodSync(output, 0o755); // whatever the umask
}
