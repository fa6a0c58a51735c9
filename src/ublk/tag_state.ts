import { slotTable } from "../base/state_table.ts";

/** Where a tag of a ublk queue is. */
export const TagState = Object.freeze({
  /** Nothing was asked of the kernel yet. */
  IDLE: 0,
  /** A FETCH_REQ is to be submitted. */
  FETCH_WANTED: 1,
  /** The kernel holds the FETCH_REQ until there is a request for the tag. */
  FETCHING: 2,
  /** The device has the request. */
  OWNED: 3,
  /** The request is answered, a COMMIT_AND_FETCH_REQ is to be submitted. */
  ANSWERED: 4,
  /** The kernel holds the COMMIT_AND_FETCH_REQ until there is a next request for the tag. */
  COMMITTING: 5,
  /** The tag gets no more requests. */
  OVER: 6,
});

/** Which states may follow which. */
export const TAG_STATES = slotTable("Tag", TagState, {
  IDLE: ["FETCH_WANTED", "OVER"],
  FETCH_WANTED: ["FETCHING", "OVER"],
  FETCHING: ["OWNED", "OVER"],
  OWNED: ["ANSWERED"],
  ANSWERED: ["COMMITTING", "OVER"],
  COMMITTING: ["OWNED", "OVER"],
  OVER: [],
});
