import { logger } from "../base/log.ts";
import { midSentence } from "../base/text.ts";
import type { IdentityDifference } from "../nvme/namespace.ts";
import type { KnownNamespace } from "../nvme/namespace_steps.ts";
import { BringUpError } from "../nvme/steps.ts";
import type { ControllerSession } from "./controller_session.ts";
import { ConnectionLost } from "./host_connection.ts";
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
}

/**
 * Notices when the namespace of a volume changes under it: each live path's controller tells when something did, and
 * whoever connects again has looked anew. Another size is taken over: the volume is as large as the smallest that a live
 * path shows, so that no path gets I/O beyond its end. Another namespace in its place is not: the path is refused.
 */
export class NamespaceWatch {
  readonly #volume: WatchedVolume;
  /** Blocks that the controllers of live paths show, by path. */
  readonly #sizes = new Map<VolumePath, number>();
  /** Reads that are under way; true: something changed again since. */
  readonly #reads = new Map<ControllerSession, boolean>();

  constructor(volume: WatchedVolume) {
    this.#volume = volume;
  }

  /** A path is live that can vouch for the size. */
  get hasLivePath(): boolean {
    return this.#sizes.size > 0;
  }

  /** A path has a new controller, which shows the volume's namespace. */
  handleLive(path: VolumePath, blocks: number): void {
    this.#sizes.set(path, blocks);
    this.#settle();
  }

  handleDown(path: VolumePath): void {
    this.#sizes.delete(path);
  }

  /** The path's controller says that namespaces have changed: they are read again; one read at a time. */
  async handleChange(path: VolumePath, session: ControllerSession): Promise<void> {
    const isReading = this.#reads.has(session);
    this.#reads.set(session, isReading);
    if (isReading) return;
    do {
      this.#reads.set(session, false);
      await this.#read(path, session);
    } while (this.#reads.get(session) === true);
    this.#reads.delete(session);
  }

  async #read(path: VolumePath, session: ControllerSession): Promise<void> {
    let shown: KnownNamespace;
    try {
      shown = await session.readNamespace();
    } catch (error) {
      // A path whose controller is lost looks anew when it has another one.
      if (error instanceof ConnectionLost) return;
      if (!(error instanceof BringUpError)) throw error;
      return path.handleLinkFailed(`its namespace cannot be used any more: ${midSentence(error.message)}`);
    }
    if (!this.#sizes.has(path)) return;
    const difference = this.#volume.difference(shown);
    if (difference?.isProved) return path.refuse(`it leads to another namespace now: ${difference.words}`);
    if (difference !== null) return;
    this.#sizes.set(path, shown.limits.blocks);
    this.#settle();
  }

  #settle(): void {
    const blocks = Math.min(...this.#sizes.values());
    const largest = Math.max(...this.#sizes.values());
    const { name } = this.#volume;
    if (largest !== blocks) {
      log.info(`${name}: its paths show sizes of ${blocks} to ${largest} blocks: the smallest counts until they agree`);
    }
    if (blocks !== this.#volume.blocks) this.#volume.resize(blocks);
  }
}
