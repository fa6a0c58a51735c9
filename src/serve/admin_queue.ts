import { StatusCode, StatusField } from "../protocol/nvme_status.ts";
import type { AdminAnswer } from "../nvme_target/admin_answer.ts";
import type { Controller } from "../nvme_target/controller.ts";
import type { SocketOwner, TargetSocket } from "./target_socket.ts";

/** The commands of an admin queue, carried out by its controller on the main thread. */
export class AdminQueue implements SocketOwner {
  readonly #controller: Controller;
  readonly #socket: TargetSocket;
  readonly #onProgress: () => void;
  readonly #onEnd: (reason: string) => void;

  /**
   * `onProgress` is called after commands were carried out, `onEnd` when the connection is over, with the reason in words.
   */
  constructor(
    { controller, socket, onProgress, onEnd }: {
      controller: Controller;
      socket: TargetSocket;
      onProgress: () => void;
      onEnd: (reason: string) => void;
    },
  ) {
    this.#controller = controller;
    this.#socket = socket;
    this.#onProgress = onProgress;
    this.#onEnd = onEnd;
    socket.owner = this;
  }

  get peer(): string {
    return this.#socket.peer;
  }

  handleCommands(socket: TargetSocket): boolean {
    let isAny = false;
    for (let slot = socket.connection.pollCommand(); slot !== -1; slot = socket.connection.pollCommand()) {
      isAny = true;
      this.#handleCommand(socket, slot);
    }
    if (isAny) {
      this.#onProgress();
      this.#answerEvents();
    }
    return isAny;
  }

  #handleCommand(socket: TargetSocket, slot: number): void {
    const { connection } = socket;
    const sqe = socket.entry(slot);
    const verdict = socket.judge(slot);
    if (verdict !== 0) return socket.respond(slot, verdict);
    const needed = this.#controller.dataNeeded(sqe);
    if (needed > connection.commands.dataBytes[slot]!) {
      return socket.respond(slot, StatusCode.DATA_SGL_LENGTH_INVALID | StatusField.DNR);
    }
    const hasData = connection.commands.hasData[slot] === 1;
    if (needed > 0 && !hasData) return connection.fetchData(slot);
    const data = needed > 0 ? socket.data(slot).subarray(0, needed) : null;
    const answer = this.#controller.handleCommand(sqe, data, performance.now());
    if (answer === null) this.#controller.park(slot);
    else this.#answer(slot, answer);
  }

  #answer(slot: number, { status, dw0, dw1, data }: AdminAnswer): void {
    if (data !== null && status === StatusCode.SUCCESS) this.#socket.respondWithData(slot, data, [dw0, dw1]);
    else this.#socket.respond(slot, status, dw0, dw1);
  }

  #answerEvents(): boolean {
    let isAny = false;
    for (let event = this.#controller.pollEvent(); event !== null; event = this.#controller.pollEvent()) {
      this.#answer(event.slot, event.answer);
      isAny = true;
    }
    return isAny;
  }

  /** Takes what has arrived, tells the controller the time and sends its events. */
  handleTime(nowMs: number): void {
    this.#socket.move();
    if (!this.#socket.isOpen || this.#socket.isSilent) return;
    this.#controller.handleTime(nowMs);
    this.sendEvents();
  }

  /** Sends the events that have come up. */
  sendEvents(): void {
    if (this.#socket.isOpen && this.#answerEvents()) this.#socket.move();
  }

  handleEnd(reason: string): void {
    this.#onEnd(reason);
  }

  /** Resets the connection; `onEnd` is called. */
  reset(reason: string): void {
    this.#socket.reset(reason);
  }

  /** Ends the connection; `onEnd` is called. */
  end(reason: string): void {
    this.#socket.end(reason);
  }
}
