import { UmpathError } from "../base/errors.ts";

/** What `umpath daemon` was told. */
export interface DaemonOptions {
  transient: boolean;
  workers: number | null;
  logFile: string | null;
}

/** Serves volumes until told to leave, and gives the exit code. */
export function runDaemon(_options: DaemonOptions): Promise<number> {
  return Promise.reject(new UmpathError("bug", "Cannot serve volumes: the daemon is not written yet"));
}
