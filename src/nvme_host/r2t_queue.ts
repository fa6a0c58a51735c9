import { Fifo } from "../base/fifo.ts";
import type { CommandTable } from "./command_table.ts";
import type { PduWriter } from "./pdu_writer.ts";

/** No send carries much more R2T data than this, so that a new command never waits behind all data of all writes. */
const SEND_BYTES_SOFT_MAX = 1 << 20;

/** The commands whose R2T is to be answered with data, in the order in which it came; each has one R2T at most. */
export class R2tQueue {
  readonly #commands: CommandTable;
  readonly #writer: PduWriter;
  readonly #queue: Fifo;

  constructor(commands: CommandTable, writer: PduWriter) {
    this.#commands = commands;
    this.#writer = writer;
    this.#queue = new Fifo(commands.depth);
  }

  get length(): number {
    return this.#queue.length;
  }

  /** An R2T asks for the next `bytes` bytes of the command. */
  push(command: number, bytes: number): void {
    const commands = this.#commands;
    commands.r2tOffset[command] = commands.transferred[command];
    commands.r2tBytes[command] = bytes;
    commands.transferred[command] += bytes;
    if (commands.r2tQueued[command] === 1) return;
    commands.r2tQueued[command] = 1;
    this.#queue.push(command);
  }

  /** Writes as much of what is asked for as one send takes. */
  answer(): void {
    const commands = this.#commands;
    let written = 0;
    for (let command = this.#queue.peek(); command >= 0; command = this.#queue.peek()) {
      while (commands.r2tBytes[command] > 0) {
        if (!this.#writer.hasRoom || written > SEND_BYTES_SOFT_MAX) return;
        written += this.#writer.writeH2cData(command);
      }
      commands.r2tQueued[command] = 0;
      this.#queue.shift();
    }
  }
}
