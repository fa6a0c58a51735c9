import { LAYOUT } from "./layout.ts";
import { SYMBOLS } from "./symbols.ts";

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;

let library: Library | undefined;

/**
 * The C library's functions, opened once in each thread and never closed: a worker may be inside it at any time.
 *
 * @throws Error if the library cannot be loaded or was built from other sources than this program.
 */
export function native(): Library["symbols"] {
  library ??= open();
  return library.symbols;
}

function open(): Library {
  const opened = Deno.dlopen(new URL("../dist/lib/libumpath.so", import.meta.url), SYMBOLS);
  const expected = Object.entries(LAYOUT);
  const found = new Uint32Array(expected.length);
  const count = opened.symbols.um_layout(new Uint8Array(found.buffer), found.length);
  if (count !== expected.length) {
    throw new Error(`Cannot use the C library: it describes another set of layouts than this program (${count})`);
  }
  expected.forEach(([name, value], i) => {
    if (found[i] !== value) {
      throw new Error(`Cannot use the C library: ${name} is ${found[i]} there and ${value} here`);
    }
  });
  return opened;
}
