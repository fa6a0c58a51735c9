import { logger } from "../../base/log.ts";
import type { IdentityDifference, NamespaceLimits } from "../../nvme_host/namespace.ts";
import type { KnownNamespace } from "../../nvme_host/namespace_steps.ts";
import type { VolumePath } from "./volume_path.ts";

const log = logger("volume");

/** The volume whose namespace is watched. */
export interface WatchedVolume {
  readonly name: string;
  /** Size in blocks. */
  readonly blocks: number;
  /** Why what a controller shows is not taken for the volume's namespace; null if it is. */
  difference(shown: KnownNamespace): IdentityDifference | null;
  /** The namespace has another size. */
  resize(blocks: number): void;
  /** The namespace is write protected, or not. */
  setProtected(isProtected: boolean): void;
}

/**
 * Notices when the namespace of a volume changes under it, by what the controllers of its live paths show. Another size
 * is taken over: the volume is as large as the smallest that a live path shows, so that no path gets I/O beyond its end.
 * It is read-only while one shows it write protected. A path that shows something new has the others asked, whose event
 * may be late or lost. Another namespace in its place is
 * not taken over: the path is refused.
 */
export class NamespaceWatch {
  readonly #volume: WatchedVolume;
  /** Blocks that the controllers of live paths show, by path. */
  readonly #sizes = new Map<VolumePath, number>();
  /** Live paths whose controllers show it write protected. */
  readonly #protecting = new Set<VolumePath>();
  #isDisagreeing = false;

  constructor(volume: WatchedVolume) {
    this.#volume = volume;
  }

  /** The sizes that live paths show, in words, while they are not one. */
  get disagreement(): string | null {
    const { smallest, largest } = this.#range;
    if (smallest === largest) return null;
    return `its paths show sizes of ${smallest} to ${largest} blocks: the smallest counts until they agree`;
  }

  get #range(): { smallest: number; largest: number } {
    const sizes = [...this.#sizes.values()];
    return sizes.length === 0
      ? { smallest: 0, largest: 0 }
      : { smallest: Math.min(...sizes), largest: Math.max(...sizes) };
  }

  /** A path has a new controller, which shows the volume's namespace. */
  handleLive(path: VolumePath, limits: Pick<NamespaceLimits, "blocks" | "readOnly">): void {
    this.#setLimits(path, limits);
  }

  /** A path has no controller any more: what the others show counts. */
  handleDown(path: VolumePath): void {
    this.#protecting.delete(path);
    if (this.#sizes.delete(path)) this.#settle();
  }

  /** The namespace was read again over a path. */
  handleShown(path: VolumePath, shown: KnownNamespace): void {
    if (!this.#sizes.has(path)) return;
    const difference = this.#volume.difference(shown);
    if (difference?.isProved) return path.refuse(`it leads to another namespace now: ${difference.words}`);
    // What is not told is no news.
    if (difference === null) this.#setLimits(path, shown.limits);
  }

  #setLimits(path: VolumePath, { blocks, readOnly }: Pick<NamespaceLimits, "blocks" | "readOnly">): void {
    const isNews = this.#sizes.get(path) !== blocks || this.#protecting.has(path) !== readOnly;
    this.#sizes.set(path, blocks);
    if (readOnly) this.#protecting.add(path);
    else this.#protecting.delete(path);
    this.#settle();
    if (!isNews) return;
    for (const [other, shown] of this.#sizes) {
      if (shown !== blocks || this.#protecting.has(other) !== readOnly) other.readNamespace();
    }
  }

  #settle(): void {
    if (this.#sizes.size === 0) return;
    const words = this.disagreement;
    const isNew = words !== null && !this.#isDisagreeing;
    this.#isDisagreeing = words !== null;
    if (isNew) log.info(`${this.#volume.name}: ${words}`);
    this.#volume.setProtected(this.#protecting.size > 0);
    const { smallest } = this.#range;
    if (smallest !== this.#volume.blocks) this.#volume.resize(smallest);
  }
}
