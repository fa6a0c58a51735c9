/** What a daemon costs while it does little, by name. */

/** One figure, and what it is to be below. */
export interface DaemonCase {
  unit: string;
  below: number;
}

/** In the order in which a repetition takes them; CPU is that of the command, of a second, of the attach, of the load. */
export const DAEMON_CASES: Readonly<Record<string, DaemonCase>> = {
  "daemon-list": { unit: "ms", below: 100 },
  "daemon-idle": { unit: "% CPU", below: 0.1 },
  "daemon-rss": { unit: "MiB", below: 120 },
  "daemon-rss-further": { unit: "MiB/volume", below: 4 },
  "daemon-rss-used": { unit: "MiB", below: 120 },
};

/** Kinds of kernel devices that the volumes have. */
export const DAEMON_SUBJECTS = ["none", "loop"] as const;

/** Only a kernel device can be loaded from outside. */
export function hasDaemonCase(name: string, subject: string): boolean {
  return name !== "daemon-rss-used" || subject === "loop";
}
