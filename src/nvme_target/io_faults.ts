/** What {@linkcode IoFaults.verdict} may say of a command besides a status to answer it with, which is above 0. */
export const IoVerdict = {
  /** It is carried out and answered. */
  NONE: 0,
  /** It is carried out and never answered. */
  DROP: -1,
} as const;

/** Decides what goes wrong on an I/O queue. Asked once for each command, as it arrives, by its opcode. */
export interface IoFaults {
  /** One of {@linkcode IoVerdict}, or the status to answer with instead of carrying the command out. */
  verdict(opcode: number, nowMs: number): number;
  /** How much later the command is carried out, in ms: also if the connection has ended by then. */
  lateMs(opcode: number, nowMs: number): number;
  /** How long the answer is held back, in ms. */
  answerDelayMs(opcode: number, nowMs: number): number;
  /** True if the answer carries a wrong digest. */
  spoilsDigest(opcode: number, nowMs: number): boolean;
}
