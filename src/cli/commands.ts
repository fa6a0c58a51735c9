/**
 * The commands there are. Each lives in a file of its own that is only loaded when it is asked for, so that `version` does
 * not carry the weight of `attach`, and nothing but `daemon` carries that of the data plane.
 */
import type { Command } from "@commander-js/extra-typings";
import type { Output } from "./output.ts";

/** What a command gets besides its words. */
export interface Context {
  output: Output;
  /** What the command ends with if it does not throw; 0 unless it says otherwise. */
  exitCode: number;
}

/** What a command's file exports: it gives the command its arguments, options, help and action. */
export type Declare = (command: Command, context: Context) => void;

/** One command before its file is loaded. */
export interface CommandEntry {
  name: string;
  summary: string;
  /** Not in the help. */
  hidden?: boolean;
  load(): Promise<{ declare: Declare }>;
}

/** Every command, in the order of the help. */
export const COMMANDS: readonly CommandEntry[] = Object.freeze([
  { name: "attach", summary: "attach a volume as a block device", load: () => import("./attach.ts") },
  {
    name: "detach",
    summary: "detach volumes",
    load: () => import("./detach.ts"),
  },
  { name: "discover", summary: "show what a discovery service offers", load: () => import("./discover.ts") },
  { name: "list", summary: "list the volumes", load: () => import("./list.ts") },
  {
    name: "show",
    summary: "show volumes with their paths and counters",
    load: () => import("./show.ts"),
  },
  {
    name: "set",
    summary: "change settings of a volume",
    load: () => import("./set.ts"),
  },
  {
    name: "path",
    summary: "add, remove, enable or disable a path of a volume",
    load: () => import("./path.ts"),
  },
  {
    name: "rescan",
    summary: "look at the namespaces of volumes again",
    load: () => import("./rescan.ts"),
  },
  {
    name: "serve",
    summary: "serve a file or memory over NVMe/TCP",
    load: () => import("./serve.ts"),
  },
  { name: "target", summary: "show and change running umpath serve targets", load: () => import("./target.ts") },
  {
    name: "demo",
    summary: "run a live demonstration with a path failure",
    load: () => import("./demo.ts"),
  },
  { name: "daemon", summary: "run the daemon in the foreground", load: () => import("./daemon.ts") },
  {
    name: "completion",
    summary: "print the completion script for a shell",
    load: () => import("./completion.ts"),
  },
  { name: "version", summary: "print the version", load: () => import("./version.ts") },
  { name: "complete", summary: "list completions of a line", hidden: true, load: () => import("./complete.ts") },
]);

/** The command of that name. */
export function findCommand(name: string): CommandEntry | undefined {
  return COMMANDS.find((entry) => entry.name === name);
}
