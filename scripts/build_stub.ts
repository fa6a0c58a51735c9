/** Compiles csrc/entry_stub.c into one flat piece of code that runs wherever it is mapped. */
import { runTool } from "./build_tool.ts";

const FLAGS = [
  "-Os",
  "-std=gnu11",
  "-ffreestanding",
  "-fPIC",
  "-fno-stack-protector",
  "-fno-asynchronous-unwind-tables",
  "-fno-builtin",
  "-fno-tree-loop-distribute-patterns",
  "-mgeneral-regs-only",
  "-nostdlib",
  "-static",
  "-Wl,--build-id=none",
  "-Wall",
  "-Wextra",
  "-Werror",
];
const X86_FLAGS = ["-fcf-protection=none"];

/** Returns the stub's code for the processor that this runs on. `source` is the folder of entry_stub.c and .ld. */
export async function buildStub(source: string): Promise<Uint8Array<ArrayBuffer>> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-stub-" });
  try {
    const [elf, flat] = [`${folder}/stub.elf`, `${folder}/stub.bin`];
    const flags = [...FLAGS, ...(Deno.build.arch === "x86_64" ? X86_FLAGS : [])];
    const inputs = [`-Wl,-T,${source}/entry_stub.ld`, `${source}/entry_stub.c`];
    await runTool(Deno.env.get("CC") ?? "cc", [...flags, "-o", elf, ...inputs], { debianPackage: "gcc" });
    const relocations = await runTool("readelf", ["-rW", elf], { debianPackage: "binutils" });
    if (/\bR_[A-Z0-9_]+/.test(relocations)) {
      throw new Error(`Cannot graft the entry stub: it must run where it lies but has relocations:\n${relocations}`);
    }
    await runTool("objcopy", ["-O", "binary", "-j", ".text", elf, flat], { debianPackage: "binutils" });
    return Deno.readFileSync(flat);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}
