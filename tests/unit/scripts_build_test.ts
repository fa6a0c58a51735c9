import { assertEquals, assertThrows } from "@std/assert";
import { linkAssets } from "../../scripts/build_assets.ts";
import { renameChunks } from "../../scripts/build_bundle.ts";
import { encodeStubConfig, roundUp } from "../../scripts/build_config.ts";
import { Elf, PT_LOAD } from "../../scripts/build_elf.ts";
import { EventEmitter } from "../../scripts/build_lite/events.ts";
import path from "../../scripts/build_lite/path.ts";
import { stripVTControlCharacters } from "../../scripts/build_lite/util.ts";
import { alias } from "../../scripts/build_modules.ts";
import { chunkName, type Program } from "../../scripts/build_program.ts";
import { replaceFile, runTool, type ToolError } from "../../scripts/build_tool.ts";

const PROGRAM: Program = {
  root: "/project",
  main: "main.ts",
  workers: ["src/host/worker/worker.ts"],
  assets: ["dist/lib/libumpath.so"],
};
const LINKS = 'new Worker(new URL("./worker.ts", UMPATH_URL)); new URL("../dist/lib/libumpath.so", UMPATH_URL);';

Deno.test("linkAssets() turns module-relative URLs into embedded names", () => {
  const linked = linkAssets(new Map([["main.js", LINKS]]), PROGRAM);
  assertEquals(linked.get("main.js"), 'new Worker(UMPATH_ASSET("worker.js")); UMPATH_ASSET("libumpath.so");');
});

Deno.test("linkAssets() refuses what would be missing at run time", () => {
  const link = (text: string, program = PROGRAM) => () => linkAssets(new Map([["main.js", text]]), program);
  assertThrows(link(`${LINKS} new URL("./other.ts", UMPATH_URL)`), Error, "neither a worker nor an asset");
  assertThrows(link(`${LINKS} console.log(UMPATH_URL)`), Error, "console.log(import.meta.url)");
  assertThrows(link(""), Error, "nothing refers to it");
  const twice = { ...PROGRAM, workers: ["src/a/worker.ts", "src/b/worker.ts"] };
  assertThrows(link(LINKS, twice), Error, "it may be src/a/worker.ts or src/b/worker.ts");
});

Deno.test("renameChunks() names chunks in the order they are reached, without hashes", () => {
  const renamed = renameChunks(
    new Map([
      ["chunk-AAAAAAAA.js", "shared"],
      ["chunk-BBBBBBBB.js", 'require("./chunk-AAAAAAAA.js")'],
      ["list-CCCCCCCC.js", 'require("./chunk-AAAAAAAA.js")'],
      ["main.js", 'require("./chunk-BBBBBBBB.js"); require("./list-CCCCCCCC.js"); require("node:fs")'],
    ]),
    "main.js",
  );
  assertEquals([...renamed], [
    ["main.js", 'require("./chunk.js"); require("./list.js"); require("node:fs")'],
    ["chunk.js", 'require("./chunk_2.js")'],
    ["list.js", 'require("./chunk_2.js")'],
    ["chunk_2.js", "shared"],
  ]);
});

Deno.test("chunkName() is the base name with .js", () => {
  assertEquals(["main.ts", "src/host/worker/worker.ts", "a.mjs"].map(chunkName), ["main.js", "worker.js", "a.js"]);
});

Deno.test("alias() maps import map entries to npm packages", () => {
  assertEquals(alias("commander", "npm:commander@15.1.0"), undefined);
  assertEquals(alias("@a/b", "npm:@a/b@1"), undefined);
  assertEquals(alias("@std/assert", "npm:deno-std@1.4.0/assert/mod.js"), "--alias:@std/assert=deno-std/assert/mod.js");
  assertEquals(alias("@std/fmt/", "npm:deno-std@1.4.0/fmt/"), "--alias:@std/fmt=deno-std/fmt");
  assertThrows(() => alias("x", "jsr:@std/assert@1"), Error, "is not an npm specifier");
});

Deno.test("encodeStubConfig() places tables, strings and files where the stub looks for them", () => {
  const bytes = encodeStubConfig({
    start: 0x1234,
    environSlot: 0x5678,
    args: ["deno", "run"],
    sets: { A: "1" },
    unsets: ["B*"],
    files: [{ name: "boot", bytes: new Uint8Array([1, 2, 3]) }],
  });
  const view = new DataView(bytes.buffer);
  const string = (at: number) => {
    const start = view.getUint32(at, true);
    return new TextDecoder().decode(bytes.subarray(start, bytes.indexOf(0, start)));
  };
  assertEquals([view.getBigUint64(8, true), view.getBigUint64(16, true)], [0x1234n, 0x5678n]);
  const [argCount, args, fileCount, files, setCount, sets, unsetCount, unsets] = Array.from(
    { length: 8 },
    (_, i) => view.getUint32(24 + 4 * i, true),
  ) as [number, number, number, number, number, number, number, number];
  assertEquals([argCount, fileCount, setCount, unsetCount], [2, 1, 1, 1]);
  assertEquals([string(args), string(args + 4), string(sets), string(unsets)], ["deno", "run", "A=1", "B*"]);
  assertEquals([files % 8, string(files)], [0, "boot"]);
  const offset = view.getUint32(files + 4, true), size = Number(view.getBigUint64(files + 8, true));
  assertEquals([offset % 64, ...bytes.subarray(offset, offset + size)], [0, 1, 2, 3]);
});

Deno.test("encodeStubConfig() refuses what the stub cannot take", () => {
  const encode = (files: Array<{ name: string; bytes: Uint8Array }>) => () =>
    encodeStubConfig({ start: 0, environSlot: 0, args: [], sets: {}, unsets: [], files });
  const bytes = new Uint8Array(1);
  assertThrows(encode([]), Error, "1 to 16");
  assertThrows(encode(Array.from({ length: 17 }, (_, i) => ({ name: `f${i}`, bytes }))), Error, "1 to 16");
  assertThrows(encode([{ name: "a&b", bytes }]), Error, '"a&b"');
});

Deno.test("Elf reads the runtime's segments and its slot for environ", () => {
  const elf = new Elf(Deno.readFileSync(Deno.execPath()), "deno");
  assertEquals(elf.loads.length > 1 && elf.loads.every((load) => load.type === PT_LOAD), true);
  assertEquals(elf.loads.some((load) => elf.entry >= load.address && elf.entry < load.address + load.fileBytes), true);
  assertEquals(elf.gotSlot("environ") % 8, 0);
  assertThrows(() => elf.gotSlot("no_such_symbol"), Error, 'does not import "no_such_symbol"');
});

Deno.test("Elf refuses other files in words", () => {
  assertThrows(() => new Elf(new Uint8Array(10), "short"), Error, 'Cannot graft onto "short": it is not a 64-bit');
  const header = Deno.readFileSync(Deno.execPath()).slice(0, 4096);
  const patched = (at: number, value: number) => {
    const bytes = header.slice();
    bytes[at] = value;
    return () => new Elf(bytes, "x");
  };
  assertThrows(patched(16, 2), Error, "position-independent");
  assertThrows(patched(18, 3), Error, "neither for x86-64 nor for arm64");
});

Deno.test("roundUp() rounds to the next multiple", () => {
  assertEquals([0, 1, 4096, 4097].map((value) => roundUp(value, 4096)), [0, 4096, 4096, 8192]);
});

Deno.test("EventEmitter calls listeners in order, with this", () => {
  const emitter = new EventEmitter(), said: unknown[] = [];
  emitter.on("a", function (this: unknown, ...args) {
    said.push(this === emitter, ...args);
  }).on("a", () => said.push("second"));
  assertEquals([emitter.emit("a", 1, 2), emitter.emit("b"), emitter.listenerCount("a")], [true, false, 2]);
  assertEquals(said, [true, 1, 2, "second"]);
});

Deno.test("path and util stand-ins answer as Node.js does", () => {
  assertEquals(["/a/b.ts", "b", ".ts", "/a/"].map((name) => path.basename(name, ".ts")), ["b", "b", ".ts", "a"]);
  assertEquals(["/a/b.ts", "b", ".ts", "a.b/c"].map(path.extname), [".ts", "", "", ""]);
  assertEquals(stripVTControlCharacters("\u001b[1;31mred\u001b[0m \u001b]8;;x\u0007link"), "red link");
});

Deno.test("runTool() says which package is missing and what the tool said", async () => {
  const failure = async (run: Promise<string>) => (await run.catch((error) => error) as ToolError).message;
  const missing = await failure(runTool("/no/such/tool", [], { debianPackage: "gcc" }));
  assertEquals(missing.includes("/no/such/tool") && missing.includes("Install the Debian package gcc."), true);
  const failed = await failure(
    runTool("/bin/sh", ["-c", "echo why >&2; exit 3"], { hint: (said) => `because ${said}` }),
  );
  assertEquals(failed, "sh failed with exit code 3:\nwhy\n  because why");
});

Deno.test("replaceFile() leaves the old file when the new one fails", async () => {
  const folder = Deno.makeTempDirSync(), file = `${folder}/a`;
  try {
    await replaceFile(file, (part) => Deno.writeTextFileSync(part, "first"));
    await replaceFile(file, (part) => {
      Deno.writeTextFileSync(part, "half");
      throw new Error("no space");
    }).catch(() => {});
    assertEquals(Deno.readTextFileSync(file), "first");
    assertEquals([...Deno.readDirSync(folder)].length, 1);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
