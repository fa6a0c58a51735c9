/**
 * A controller from its association to its end, as CC asks for it and CSTS tells it (Base 2.0, sections 3.1.3.5, 3.1.3.6,
 * 3.5 and 3.6).
 *
 *     disabled ──EN──▶ ready ──SHN──▶ shutting-down ──queues closed──▶ shut-down
 *        ▲                └──EN 0──▶ disabling ──queues closed──▶ disabled
 *        └── any state but disabled goes back by EN 0; a configuration that cannot be, and what is wrong, are fatal
 *
 * Contract: RDY goes to 0, and SHST to complete, only once the I/O queues are closed: then no command of the host is
 * executed any more.
 */

import { MachineState, StateTable } from "../base/state_table.ts";
import { Cc, CcCss, CcShn, Csts, CstsShst, IOCQES_LOG2, IOSQES_LOG2 } from "../protocol/nvme_property.ts";

export type ControllerStateName = "disabled" | "ready" | "disabling" | "shutting-down" | "shut-down" | "fatal";

/** Which states may follow which. */
export const CONTROLLER_STATES = new StateTable<ControllerStateName>("A controller", {
  disabled: ["ready", "shut-down", "fatal"],
  ready: ["disabling", "shutting-down", "fatal"],
  disabling: ["disabled", "fatal"],
  "shutting-down": ["shut-down", "disabling", "fatal"],
  "shut-down": ["disabling", "disabled", "ready", "fatal"],
  fatal: ["disabling"],
});

export interface ControllerStateOptions {
  /** A discovery controller has no I/O queues: their entry sizes mean nothing, and no command set needs to be there. */
  isDiscovery: boolean;
  /** Whether an I/O queue is connected. */
  hasIoQueues: () => boolean;
}

/** The state machine of CC and CSTS. */
export class ControllerState {
  readonly #options: ControllerStateOptions;
  readonly #state = new MachineState(CONTROLLER_STATES, "disabled");
  #cc = 0;
  #isFatal = false;
  /** Ready when it became fatal, or was asked to stop: commands may still be executed. */
  #isRunning = false;
  #mustCloseIoQueues = false;
  /** The I/O queues are being closed: it was, or will be, asked for. */
  #isClosing = false;

  constructor(options: ControllerStateOptions) {
    this.#options = options;
  }

  get name(): ControllerStateName {
    return this.#state.name;
  }

  get cc(): number {
    return this.#cc;
  }

  get csts(): number {
    return (this.#isRunning ? Csts.RDY : 0) | (this.#isFatal ? Csts.CFS : 0) | (this.#shst() << Csts.SHST_SHIFT);
  }

  #shst(): number {
    if (this.name === "shutting-down") return CstsShst.OCCURRING;
    return this.name === "shut-down" ? CstsShst.COMPLETE : CstsShst.NORMAL_OPERATION;
  }

  /** The host writes CC. True if that begins a reset of the controller. */
  writeCc(value: number): boolean {
    const wasEnabled = (this.#cc & Cc.EN) !== 0;
    this.#cc = value >>> 0;
    const isEnabled = (value & Cc.EN) !== 0;
    if (wasEnabled && !isEnabled) {
      this.#beginDisable();
      return true;
    }
    if (!wasEnabled && isEnabled && (this.name === "disabled" || this.name === "shut-down")) this.#enable();
    this.#takeShutdownNotice();
    return false;
  }

  /** Something is wrong that only a reset can put right. */
  fail(): void {
    if (this.name === "fatal") return;
    this.#state.transition("fatal");
    this.#isFatal = true;
    if (this.#options.hasIoQueues()) this.#askToClose();
  }

  /** True, once, when all I/O queues are to be closed. */
  pollCloseIoQueues(): boolean {
    const must = this.#mustCloseIoQueues;
    this.#mustCloseIoQueues = false;
    return must;
  }

  /** No I/O queue is left, and none of their commands is executed any more. */
  handleIoQueuesClosed(): void {
    this.#mustCloseIoQueues = false;
    this.#isClosing = false;
    if (this.name === "shutting-down") this.#state.transition("shut-down");
    if (this.name !== "disabling") return;
    this.#becomeDisabled();
    // A host that did not wait for RDY to go to 0.
    if ((this.#cc & Cc.EN) !== 0) this.#enable();
  }

  #beginDisable(): void {
    if (this.name === "disabled" || this.name === "disabling") return;
    this.#state.transition("disabling");
    this.#closeIoQueues();
  }

  #becomeDisabled(): void {
    this.#state.transition("disabled");
    this.#isRunning = false;
    this.#isFatal = false;
  }

  #enable(): void {
    if (this.#isConfigurationValid()) {
      this.#state.transition("ready");
      this.#isRunning = true;
    } else {
      this.#state.transition("fatal");
      this.#isFatal = true;
    }
  }

  /** A configuration with another page or entry size, command set or arbitration than CAP offers cannot be enabled. */
  #isConfigurationValid(): boolean {
    const css = (this.#cc >>> Cc.CSS_SHIFT) & Cc.CSS_MASK;
    if (((this.#cc >>> Cc.MPS_SHIFT) & Cc.MPS_MASK) !== 0 || ((this.#cc >>> Cc.AMS_SHIFT) & Cc.AMS_MASK) !== 0) {
      return false;
    }
    if (css === CcCss.ADMIN_ONLY) return this.#options.isDiscovery;
    if (css !== CcCss.NVM && css !== CcCss.ALL_SUPPORTED) return false;
    if (this.#options.isDiscovery) return true;
    return ((this.#cc >>> Cc.IOSQES_SHIFT) & Cc.IOSQES_MASK) === IOSQES_LOG2 &&
      ((this.#cc >>> Cc.IOCQES_SHIFT) & Cc.IOCQES_MASK) === IOCQES_LOG2;
  }

  #takeShutdownNotice(): void {
    const shn = (this.#cc >>> Cc.SHN_SHIFT) & CcShn.MASK;
    const isAsked = shn === CcShn.NORMAL || shn === CcShn.ABRUPT;
    if (isAsked && this.name === "disabled") this.#state.transition("shut-down");
    if (isAsked && this.name === "ready") {
      this.#state.transition("shutting-down");
      this.#closeIoQueues();
    }
    const wasNeverEnabled = this.name === "shut-down" && !this.#isRunning;
    if (wasNeverEnabled && !isAsked && (this.#cc & Cc.EN) === 0) this.#state.transition("disabled");
  }

  /** Asks for the I/O queues to be closed; without any, that is done. */
  #closeIoQueues(): void {
    if (this.#options.hasIoQueues()) this.#askToClose();
    else this.handleIoQueuesClosed();
  }

  #askToClose(): void {
    if (!this.#isClosing) this.#mustCloseIoQueues = true;
    this.#isClosing = true;
  }
}
