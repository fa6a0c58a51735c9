import { assert } from "../base/assert.ts";
import { UmpathError } from "../base/errors.ts";
import { formatSize } from "../base/units.ts";
import { Memory } from "../io/memory.ts";

/** Memory can grow to so many times its first size: address space is set aside for that, as far as there is any. */
const GROWTH_MAX = 8;

/** Memory behind a namespace, mapped once for the whole process. */
export class RamStore implements Disposable {
  readonly #memory: Memory;
  #bytes: number;

  private constructor(memory: Memory, bytes: number) {
    this.#memory = memory;
    this.#bytes = bytes;
  }

  /** @throws UmpathError "host-lacks" if this host has not so much memory, of which `hostBytes` tells. */
  static allocate(bytes: number, hostBytes: number = memoryOfHost()): RamStore {
    assert(bytes > 0, "A namespace in memory has a size");
    if (bytes > hostBytes) throw tooLarge(bytes, `this host has ${formatSize(hostBytes)}, with its swap`);
    for (let growth = GROWTH_MAX; growth >= 1; growth /= 2) {
      try {
        return new RamStore(Memory.allocate(bytes * growth), bytes);
      } catch {
        // Less to grow into may still be there.
      }
    }
    throw tooLarge(bytes, "out of memory");
  }

  /** How large it is now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** As far as it can grow, in bytes. */
  get bytesMax(): number {
    return this.#memory.length;
  }

  get address(): number {
    return this.#memory.address;
  }

  /**
   * What is cut off is gone: it reads as zeroes when the memory grows again.
   *
   * @throws UmpathError "usage" if there is no room for it.
   */
  resize(bytes: number): void {
    if (bytes > this.bytesMax) {
      const most = formatSize(this.bytesMax);
      throw new UmpathError("usage", `Cannot make the namespace ${formatSize(bytes)} large: it is in memory`, {
        hint: `It can grow to ${most}, for which address space was set aside at the start`,
      });
    }
    this.#memory.discard(bytes);
    this.#bytes = bytes;
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

function memoryOfHost(): number {
  const { total, swapTotal } = Deno.systemMemoryInfo();
  return total + swapTotal;
}

function tooLarge(bytes: number, why: string): UmpathError {
  const size = formatSize(bytes);
  return new UmpathError("host-lacks", `Cannot serve ${size} of memory: ${why}`, {
    hint: `Serve a file instead, which takes room only as it is written: umpath serve FILE --size ${sizeOption(bytes)}`,
  });
}

/** A size as options have it: "100T". */
function sizeOption(bytes: number): string {
  return formatSize(bytes).replace(/ (.?)i?B$/, "$1");
}
