import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { type ErrorCode, UmpathError } from "../../../src/base/errors.ts";
import { NamespaceFile, type NamespaceFileOptions } from "../../../src/serve/namespace_file.ts";
import { TempFolder } from "./temp_folder.ts";

const MIB = 1 << 20;

function open(path: string, more: Partial<NamespaceFileOptions> = {}): Promise<NamespaceFile> {
  return NamespaceFile.open({ path, blockSize: 4096, readOnly: false, sizeBytes: null, ...more });
}

async function refusal(path: string, more: Partial<NamespaceFileOptions> = {}): Promise<UmpathError> {
  return await assertRejects(() => open(path, more), UmpathError);
}

Deno.test("NamespaceFile.open() opens a file as it is, and knows its size, holes and room", async () => {
  using folder = new TempFolder();
  using file = await open(folder.sparse("disk.img", 64 * MIB));
  assertEquals([file.bytes, file.isDevice, file.holeBytes], [64 * MIB, false, 64 * MIB]);
  assertEquals(file.freeBytes > 0, true);
  using full = await open(folder.write("full.img", new Uint8Array(MIB).fill(1)));
  await full.sync();
  assertEquals([full.bytes, full.holeBytes], [MIB, 0]);
});

Deno.test("NamespaceFile.open() makes a missing or empty file as large as it is told, and no other", async () => {
  using folder = new TempFolder();
  for (const name of ["new.img", "empty.img"]) {
    if (name === "empty.img") folder.write(name, "");
    using file = await open(`${folder.path}/${name}`, { sizeBytes: MIB });
    assertEquals([file.bytes, Deno.statSync(file.path).size], [MIB, MIB]);
  }
  using same = await open(folder.sparse("same.img", MIB), { sizeBytes: MIB });
  assertEquals(same.bytes, MIB);
  const other = await refusal(folder.sparse("other.img", 2 * MIB), { sizeBytes: MIB });
  assertEquals([other.code, Deno.statSync(`${folder.path}/other.img`).size], ["usage", 2 * MIB]);
  assertMatch(other.message, /it has 2 MiB, not the 1 MiB of --size$/);
  const near = await refusal(folder.sparse("near.img", MIB + 4096), { sizeBytes: MIB });
  assertMatch(near.message, /it has 1052672 bytes, not the 1048576 bytes of --size$/, "sizes that read alike");
});

Deno.test("NamespaceFile.open() says what is wrong with what it cannot serve, and leaves nothing behind", async () => {
  using folder = new TempFolder();
  folder.write("tiny", "x");
  folder.write("half", new Uint8Array(1024));
  folder.write("empty", "");
  Deno.mkdirSync(`${folder.path}/folder`);
  Deno.symlinkSync("nowhere", `${folder.path}/link`);
  const before = folder.names;
  const cases: [name: string, more: Partial<NamespaceFileOptions>, code: ErrorCode, why: RegExp, hint: RegExp][] = [
    ["none", {}, "not-found", /there is no such file$/, /^Give --size SIZE to make it$/],
    ["no/file", {}, "not-found", /there is no such folder$/, /^$/],
    ["no/file", { sizeBytes: MIB }, "not-found", /^Cannot make .*there is no such folder$/, /^$/],
    ["link", { sizeBytes: MIB }, "not-found", /there is no such file$/, /dangling link/],
    ["folder", {}, "usage", /it is a folder$/, /^$/],
    ["empty", {}, "usage", /it is empty$/, /^Give --size SIZE to make it so large$/],
    ["tiny", {}, "usage", /it has 1 byte, and one block has 4096$/, /^Name a larger file/],
    ["half", {}, "usage", /it has 1024 bytes, and one block has 4096$/, /^Give --block-size 512$/],
    [
      "huge",
      { sizeBytes: 7 * 2 ** 50 },
      "host-lacks",
      /^Cannot make .*huge" 7 PiB large: file too large$/,
      /^Choose a smaller size, or raise/,
    ],
  ];
  for (const [name, more, code, why, hint] of cases) {
    const error = await refusal(`${folder.path}/${name}`, more);
    assertEquals(error.code, code, error.message);
    assertMatch(error.message, why);
    assertMatch(error.hint ?? "", hint, error.message);
  }
  assertEquals(
    (await refusal("/dev/null")).message,
    'Cannot serve "/dev/null": it is neither a file nor a block device',
  );
  assertEquals(folder.names, before);
});

Deno.test("NamespaceFile.open() shares a file with readers only, and one of its two waits for the other to go", async () => {
  using folder = new TempFolder();
  const path = folder.sparse("disk.img", MIB);
  {
    using _reader = await open(path, { readOnly: true });
    using _second = await open(path, { readOnly: true });
    const error = await refusal(path);
    assertEquals(error.code, "in-use");
    assertMatch(error.message, /another target serves it, or a program has it locked$/);
  }
  using _writer = await open(path);
  assertEquals((await refusal(path, { readOnly: true })).code, "in-use");
});

Deno.test("NamespaceFile.resize() cuts and extends a file, and says what the file system refuses", async () => {
  using folder = new TempFolder();
  using file = await open(folder.write("disk.img", new Uint8Array(MIB).fill(1)));
  file.resize(MIB / 2);
  assertEquals(Deno.statSync(file.path).size, MIB / 2);
  file.resize(2 * MIB);
  assertEquals(Deno.readFileSync(file.path).findIndex((byte) => byte === 0), MIB / 2);
  const error = assertThrows(() => file.resize(7 * 2 ** 50), UmpathError);
  assertMatch(error.message, /^Cannot make ".*disk.img" 7 PiB large: file too large$/);
  assertEquals(file.bytes, 2 * MIB);
});
