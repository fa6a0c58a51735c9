/** A folder for a test, with what it needs in it. */
export class TempFolder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "umpath-serve-" });

  /** Makes a file with that content, and the folders that it is in. */
  write(name: string, content: string | Uint8Array): string {
    const path = `${this.path}/${name}`;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") Deno.writeTextFileSync(path, content);
    else Deno.writeFileSync(path, content);
    return path;
  }

  /** A file of so many bytes, none of which have room. */
  sparse(name: string, bytes: number): string {
    const path = this.write(name, "");
    Deno.truncateSync(path, bytes);
    return path;
  }

  get names(): string[] {
    return [...Deno.readDirSync(this.path)].map(({ name }) => name).sort();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}
