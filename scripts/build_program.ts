/** What a program to be packed consists of, and what its parts are called once packed. */

/** The parts; paths are relative to `root`. */
export interface Program {
  root: string;
  /** The main module. */
  main: string;
  /** Entry modules of workers, started by `new Worker(new URL("…", import.meta.url), { type: "module" })`. */
  workers: string[];
  /** Files that the program opens by `new URL("…", import.meta.url)`. */
  assets: string[];
}

/** Chunk name → CommonJS. Chunks ask for each other as require("./NAME"). */
export type Chunks = Map<string, string>;

/** What `import.meta.url` is called in a chunk until the assets are linked. */
export const URL_NAME = "UMPATH_URL";

/** The chunk of the entry module `path`. */
export function chunkName(path: string): string {
  return baseName(path).replace(/\.[mc]?[jt]s$/, ".js");
}

/** The last part of `path`. */
export function baseName(path: string): string {
  return path.replace(/.*\//, "");
}
