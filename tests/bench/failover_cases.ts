/** What is measured while one of two paths is in trouble, and on whom. */

/** A device with settings: those of umpath in the words of `umpath set` if not its defaults, of the kernel its policy. */
export interface FailoverSubject {
  device: "umpath" | "kernel";
  settings: string[];
}

/** Everybody that the longest stall is measured of; the names of the cases are those of `TROUBLES` in tests/e2e. */
export const STALL_SUBJECTS: Readonly<Record<string, FailoverSubject>> = {
  "umpath": { device: "umpath", settings: [] },
  "umpath write-hold=off": { device: "umpath", settings: ["write-hold=off"] },
  "kernel": { device: "kernel", settings: ["round-robin"] },
};

export const STALL_CASES: Readonly<Record<string, string>> = {
  "failover-reset": "reset of every connection",
  "failover-link-down": "link down",
  "failover-silent-drop": "silent drop both ways",
};

/** Everybody that serves reads while one path takes 20 ms more. */
export const SLOW_SUBJECTS: Readonly<Record<string, FailoverSubject>> = {
  "umpath round-robin": { device: "umpath", settings: ["policy=round-robin"] },
  "umpath queue-depth": { device: "umpath", settings: ["policy=queue-depth"] },
  "umpath service-time": { device: "umpath", settings: ["policy=service-time"] },
  "umpath round-robin, demote": { device: "umpath", settings: ["policy=round-robin", "slow-path=demote"] },
  "umpath queue-depth, demote": { device: "umpath", settings: ["policy=queue-depth", "slow-path=demote"] },
  "kernel round-robin": { device: "kernel", settings: ["round-robin"] },
  "kernel queue-depth": { device: "kernel", settings: ["queue-depth"] },
};

export const SLOW_CASE = "failover-slow-path";

export const FAILOVER_CASES: readonly string[] = [...Object.keys(STALL_CASES), SLOW_CASE];
