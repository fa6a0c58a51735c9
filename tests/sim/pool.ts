/** Memory that connections leave behind for the next ones: it is made once, as a host makes it. */
export class MemoryPool {
  readonly #free = new Map<number, Uint8Array<ArrayBuffer>[]>();

  take(bytes: number): Uint8Array<ArrayBuffer> {
    return this.#free.get(bytes)?.pop() ?? new Uint8Array(bytes);
  }

  give(memory: Uint8Array<ArrayBuffer>): void {
    const list = this.#free.get(memory.length);
    if (list === undefined) this.#free.set(memory.length, [memory]);
    else list.push(memory);
  }
}
