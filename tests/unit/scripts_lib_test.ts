import { assertEquals, assertRejects } from "@std/assert";
import { buildLib } from "../../scripts/lib.ts";

/** Calls `test` with a folder whose csrc/ has the given files. */
async function withSources(files: Record<string, string>, test: (root: string) => Promise<void>): Promise<void> {
  const root = Deno.makeTempDirSync({ prefix: "umpath-lib-" });
  try {
    Deno.mkdirSync(`${root}/csrc`);
    for (const [name, text] of Object.entries(files)) Deno.writeTextFileSync(`${root}/csrc/${name}`, text);
    await test(root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

const SOURCES = {
  "umpath.h": '#define UM_EXPORT __attribute__((visibility("default")))\nUM_EXPORT int um_answer(void);\n',
  "um_answer.c": '#include "umpath.h"\nint um_answer(void) { return 42; }\n',
  "entry_stub.c": "#error not part of the library\n",
};

/** Dates everything that is there a minute back, so that the next change is newer than the library for sure. */
function age(path: string): void {
  const past = new Date(Date.now() - 60_000);
  if (Deno.statSync(path).isDirectory) { for (const { name } of Deno.readDirSync(path)) age(`${path}/${name}`); }
  Deno.utimeSync(path, past, past);
}

Deno.test("buildLib() returns nothing while there is no source", async () => {
  await withSources({ "entry_stub.c": "#error" }, async (root) => assertEquals(await buildLib({ root }), undefined));
});

Deno.test("buildLib() makes a library of csrc/um_*.c and only those", async () => {
  await withSources(SOURCES, async (root) => {
    const path = await buildLib({ root }) ?? "";
    assertEquals(path, `${root}/dist/lib/libumpath.so`);
    const library = Deno.dlopen(path, { um_answer: { parameters: [], result: "i32" } });
    assertEquals(library.symbols.um_answer(), 42);
    library.close();
  });
});

Deno.test("buildLib() works only when a source, a header or the set of sources changed", async () => {
  await withSources(SOURCES, async (root) => {
    age(root);
    const library = `${root}/dist/lib/libumpath.so`;
    const inode = () => Deno.statSync(library).ino;
    await buildLib({ root });
    let last = inode();
    const rebuilt = async (): Promise<boolean> => {
      await buildLib({ root });
      const changed = inode() !== last;
      last = inode();
      return changed;
    };
    assertEquals(await rebuilt(), false);
    for (const name of ["um_answer.c", "umpath.h", "um_new.c"]) {
      await new Promise((done) => setTimeout(done, 10)); // later than the library by the file system's clock
      Deno.writeTextFileSync(`${root}/csrc/${name}`, SOURCES[name as keyof typeof SOURCES] ?? "int um_new(void);\n");
      assertEquals([name, await rebuilt(), await rebuilt()], [name, true, false]);
    }
  });
});

Deno.test("buildLib() keeps the old library and says what the compiler said when a source is wrong", async () => {
  await withSources(SOURCES, async (root) => {
    const path = await buildLib({ root }) ?? "";
    const before = Deno.readFileSync(path);
    Deno.writeTextFileSync(`${root}/csrc/um_answer.c`, "int um_answer(void) { int unused; return 42 }\n");
    await assertRejects(() => buildLib({ root, force: true }), Error, "um_answer.c:1:");
    assertEquals(Deno.readFileSync(path), before);
    assertEquals([...Deno.readDirSync(`${root}/dist/lib`)].map(({ name }) => name), ["libumpath.so"]);
  });
});
