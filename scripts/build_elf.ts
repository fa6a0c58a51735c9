/** Reading a 64-bit little-endian ELF executable: as much of the format as the graft needs. */

/** Program header types. */
export const PT_LOAD = 1, PT_DYNAMIC = 2, PT_PHDR = 6;
/** Program header flags. */
export const PF_X = 1, PF_R = 4;
/** Sizes of the ELF structures, in bytes. */
export const PROGRAM_HEADER_BYTES = 56, RELOCATION_BYTES = 24, SYMBOL_BYTES = 24;

const ET_DYN = 3;
const DT_STRTAB = 5, DT_SYMTAB = 6, DT_RELA = 7, DT_RELASZ = 8;
/** Processor → [page size its kernels may use, its R_*_GLOB_DAT]. */
const MACHINES: Record<number, [pageBytes: number, globDat: number]> = { 62: [0x1000, 6], 183: [0x10000, 1025] };

/** One program header: what is mapped where. */
export interface ProgramHeader {
  /** Offset of the header itself in the file. */
  at: number;
  type: number;
  offset: number;
  address: number;
  fileBytes: number;
  memoryBytes: number;
}

/** An executable held in memory. */
export class Elf {
  readonly view: DataView;
  readonly pageBytes: number;
  readonly programHeaders: ProgramHeader[];
  readonly #globDat: number;

  /** Throws if `bytes` is not a position-independent executable for x86-64 or arm64. `name` is for the messages. */
  constructor(readonly bytes: Uint8Array, readonly name: string) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const isElf = bytes.length > 64 && this.view.getUint32(0, true) === 0x464c457f && bytes[4] === 2 && bytes[5] === 1;
    if (!isElf) throw this.#error("it is not a 64-bit little-endian ELF file");
    if (this.#u16(16) !== ET_DYN || this.#u16(54) !== PROGRAM_HEADER_BYTES) {
      throw this.#error("it is not a position-independent executable");
    }
    const machine = MACHINES[this.#u16(18)];
    if (machine === undefined) throw this.#error("it is neither for x86-64 nor for arm64");
    [this.pageBytes, this.#globDat] = machine;
    this.programHeaders = Array.from({ length: this.#u16(56) }, (_, i) => this.#programHeader(i));
  }

  /** The address that execution starts at. */
  get entry(): number {
    return this.#u64(24);
  }

  /** The segments that are mapped, in order of address. */
  get loads(): ProgramHeader[] {
    return this.programHeaders.filter((header) => header.type === PT_LOAD);
  }

  /** The address of the GOT slot that ld.so fills with the address of the imported variable `symbol`. */
  gotSlot(symbol: string): number {
    const dynamic = this.#dynamic();
    const tag = (number: number) => dynamic.get(number) ?? this.#fail("its dynamic section is incomplete");
    const symbols = this.#offset(tag(DT_SYMTAB)), strings = this.#offset(tag(DT_STRTAB));
    const first = this.#offset(tag(DT_RELA)), end = first + tag(DT_RELASZ);
    for (let at = first; at < end; at += RELOCATION_BYTES) {
      if (this.#u32(at + 8) !== this.#globDat) continue;
      const name = strings + this.#u32(symbols + this.#u32(at + 12) * SYMBOL_BYTES);
      if (this.#stringIs(name, symbol)) return this.#u64(at);
    }
    throw this.#error(`it does not import "${symbol}" through its global offset table`);
  }

  #programHeader(index: number): ProgramHeader {
    const at = this.#u64(32) + index * PROGRAM_HEADER_BYTES;
    return {
      at,
      type: this.#u32(at),
      offset: this.#u64(at + 8),
      address: this.#u64(at + 16),
      fileBytes: this.#u64(at + 32),
      memoryBytes: this.#u64(at + 40),
    };
  }

  #dynamic(): Map<number, number> {
    const segment = this.programHeaders.find((header) => header.type === PT_DYNAMIC) ??
      this.#fail("it is linked statically");
    const entries = new Map<number, number>();
    for (let at = segment.offset; this.#u64(at) !== 0; at += 16) entries.set(this.#u64(at), this.#u64(at + 8));
    return entries;
  }

  #offset(address: number): number {
    const segment = this.loads.find((load) => address >= load.address && address < load.address + load.fileBytes) ??
      this.#fail(`address 0x${address.toString(16)} is not in the file`);
    return address - segment.address + segment.offset;
  }

  #stringIs(at: number, text: string): boolean {
    return this.bytes[at + text.length] === 0 && [...text].every((c, i) => this.bytes[at + i] === c.charCodeAt(0));
  }

  #u16(at: number): number {
    return this.view.getUint16(at, true);
  }

  #u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  #u64(at: number): number {
    return Number(this.view.getBigUint64(at, true));
  }

  #error(why: string): Error {
    return new Error(`Cannot graft onto "${this.name}": ${why}`);
  }

  #fail(why: string): never {
    throw this.#error(why);
  }
}
