import { logger } from "../base/log.ts";

const log = logger("daemon");

/**
 * An error that nobody caught is a fault of ours, but to end for it would take every volume of this host away, or every
 * volume that hosts have from it: it is logged, and what works goes on.
 */
export function surviveStrayErrors(): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log.error("A bug in umpath: nobody caught", event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    log.error("A bug in umpath: nobody caught", event.error ?? event.message);
  });
}
