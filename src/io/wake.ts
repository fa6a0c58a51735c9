import { native } from "../../ffi/library.ts";
import { check } from "../../ffi/result.ts";

/** An eventfd: how one thread wakes another that sleeps in the kernel. */
export class Wake implements Disposable {
  readonly fd: number;

  constructor() {
    this.fd = check(native().um_eventfd(), "Cannot make an eventfd");
  }

  /** May be called from any thread that knows the descriptor. */
  static signal(fd: number): void {
    check(native().um_eventfd_signal(fd), "Cannot signal an eventfd");
  }

  /** Closes the descriptor of a thread that does not use it any more. */
  static close(fd: number): void {
    native().um_close(fd);
  }

  drain(): void {
    check(native().um_eventfd_drain(this.fd), "Cannot read an eventfd");
  }

  [Symbol.dispose](): void {
    Wake.close(this.fd);
  }
}
