/** A storage system with several portals to one namespace, any of which can be taken away and given back. */
export interface Storage {
  readonly nqn: string;
  readonly sizeBytes: number;
  readonly portals: readonly Portal[];
  /** The namespace's UUID as the storage system has it; null if it does not tell. */
  readonly uuid: string | null;
  /** Takes a portal away, with its connections. Gives what was done, as a command if a user can do it so. */
  lose(index: number): Promise<Deed>;
  /** Gives it back. */
  restore(index: number): Promise<Deed>;
  /** Ends it, in order. */
  close(): Promise<void>;
  /** The last lines of its log, for when something is not as it should be. */
  log(): string[];
}

/** Where hosts connect to. */
export interface Portal {
  addr: string;
  port: number;
}

/** What was done to a storage system. */
export interface Deed {
  /** As the user types it; null if it is none of umpath's commands. */
  command: string | null;
  /** What happened. */
  words: string;
}

export function portalWords({ addr, port }: Portal): string {
  return `${addr}:${port}`;
}
