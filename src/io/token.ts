/**
 * The one owner of completion tokens. A token is the 64-bit `user_data` of a submission, which its completion brings
 * back: the low half is an index, the high half says whose index it is.
 *
 *     63        32 31 .. 8   7 .. 0     high half: owner (24 bits), kind (8 bits)
 *     [ owner | kind ][     index   ]
 */

/** Who waits for a completion. */
export const TokenKind = {
  /** Nobody: the completion is only counted. */
  NONE: 0,
  /** The eventfd by which another thread wakes this one. */
  WAKE: 1,
  /** A ublk command; owner is the volume, index the tag. */
  UBLK: 2,
  /** A receive on a connection; owner is the volume, index the path. */
  RECEIVE: 3,
  /**
   * A send on a connection; owner is the volume, index the path. One that completes at once does not end a turn: there
   * is nothing to do then that could not be done with the next completion.
   */
  SEND: 4,
  /** A send after which the connection has more to send already. */
  SEND_MORE: 5,
  /** An operation on the file behind a namespace; owner is the connection that asked, index as the server packs it. */
  FILE: 6,
  /** Requests wait on a FUSE descriptor; owner is the volume. */
  FUSE_POLL: 7,
  /** A read of a FUSE request; owner is the volume, index the slot. One that finds none does not end a turn. */
  FUSE_READ: 8,
  /** An answer to a FUSE request; owner is the volume, index the slot. One that is taken at once does not end a turn. */
  FUSE_WRITE: 9,
  /** An answer after which a request is to be read into the slot, for there is no other. */
  FUSE_WRITE_FULL: 10,
} as const;

/** The high half of a token. */
export function tokenHigh(kind: number, owner: number): number {
  return kind | (owner << 8);
}

/** One of {@linkcode TokenKind}. */
export function tokenKind(high: number): number {
  return high & 0xff;
}

/** The owner that the token was made for. */
export function tokenOwner(high: number): number {
  return high >>> 8;
}
