import type { HostQueue } from "./host_queue.ts";

/** A path whose controller shows the namespace. */
export interface SizedPath {
  /** Reads the namespace again. */
  readNamespace(): void;
}

/**
 * The size of the volume, in its queues and in the kernel device: `NamespaceWatch` and `VolumeSize` in simulation. The
 * smallest that a live path shows counts; first the queues have it, then the device.
 */
export class HostSize {
  /** Blocks of the volume, and those that the kernel device has been told. */
  #blocks: number;
  #deviceBlocks: number;
  #queueBlocks: number;
  /** The smallest size that any queue may have. */
  #leastInQueues: number;
  #isRunning = false;
  /** Blocks that the controllers of live paths show, by path. */
  readonly #shown = new Map<SizedPath, number>();
  readonly #queues: readonly HostQueue[];
  readonly #mail: (deliver: () => void) => void;
  readonly #onChange: (words: string) => void;
  readonly #isIgnored: boolean;

  constructor(
    blocks: number,
    options: {
      queues: readonly HostQueue[];
      /** A message between threads, or a command to the kernel: it takes a while. */
      mail: (deliver: () => void) => void;
      onChange: (words: string) => void;
      /** Broken on purpose: the size stays as it is. */
      isIgnored: boolean;
    },
  ) {
    this.#blocks =
      this.#deviceBlocks =
      this.#queueBlocks =
      this.#leastInQueues =
        blocks;
    this.#queues = options.queues;
    this.#mail = options.mail;
    this.#onChange = options.onChange;
    this.#isIgnored = options.isIgnored;
  }

  get blocks(): number {
    return this.#blocks;
  }

  /** Whoever asks for more than that may be refused. */
  get least(): number {
    return Math.min(this.#blocks, this.#leastInQueues);
  }

  get deviceBlocks(): number {
    return this.#deviceBlocks;
  }

  /** The controllers of all live paths show the size that the volume has. */
  get isAgreed(): boolean {
    return [...this.#shown.values()].every((blocks) => blocks === this.#blocks);
  }

  handleLive(path: SizedPath, blocks: number): void {
    this.#setSize(path, blocks);
  }

  handleDown(path: SizedPath): void {
    if (this.#shown.delete(path)) this.#settle();
  }

  /** The namespace was read again over a path. */
  handleShown(path: SizedPath, blocks: number): void {
    if (this.#shown.has(path)) this.#setSize(path, blocks);
  }

  /** A path that shows a new size has the others asked. */
  #setSize(path: SizedPath, blocks: number): void {
    const isNews = this.#shown.get(path) !== blocks;
    this.#shown.set(path, blocks);
    this.#settle();
    if (!isNews) return;
    for (const [other, shown] of this.#shown) if (shown !== blocks) other.readNamespace();
  }

  #settle(): void {
    if (this.#shown.size === 0 || this.#isIgnored) return;
    const blocks = Math.min(...this.#shown.values());
    if (blocks === this.#blocks) return;
    this.#blocks = blocks;
    this.#onChange(`the volume has ${blocks} blocks now`);
    if (!this.#isRunning) this.#step();
  }

  /** Brings queues and device to the size that the volume has by now, one change after the other. */
  #step(): void {
    const blocks = this.#blocks;
    this.#isRunning = blocks !== this.#queueBlocks || blocks !== this.#deviceBlocks;
    if (!this.#isRunning) return;
    if (blocks !== this.#queueBlocks) {
      this.#queueBlocks = blocks;
      let left = this.#queues.length;
      this.#leastInQueues = Math.min(this.#leastInQueues, blocks);
      const handleResized = () => {
        if (--left > 0) return;
        this.#leastInQueues = blocks;
        this.#onChange(`the queues have ${blocks} blocks now`);
        this.#step();
      };
      for (const queue of this.#queues) this.#mail(() => queue.resize(blocks, () => this.#mail(handleResized)));
      return;
    }
    this.#mail(() => {
      this.#deviceBlocks = blocks;
      this.#onChange(`the kernel device has ${blocks} blocks now`);
      this.#step();
    });
  }
}
