import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { EACCES, EEXIST, ENODATA, ENOSPC, EOPNOTSUPP } from "../../../src/base/errno.ts";
import { UmpathError } from "../../../src/base/errors.ts";
import { uuidText } from "../../../src/serve/identity.ts";
import { type Attributes, memoryIdentity, storageIdentity } from "../../../src/serve/storage_identity.ts";
import { deviceNumbers } from "../../../src/serve/storage_users.ts";
import { TempFolder } from "./temp_folder.ts";

const UUID = "5a3c1c1e-0a0b-4c0d-8e0f-000000000001";
const OTHER = "5a3c1c1e-0a0b-4c0d-8e0f-000000000002";

/** Attributes of one file, in place of the kernel's. */
class FakeAttributes implements Attributes {
  /** What `make()` gives when it does not do it. */
  makeErrno = 0;
  /** What `get()` gives where there is none. */
  getErrno = ENODATA;

  constructor(public text: string | null = null) {}

  get(_fd: number, into: Uint8Array): number {
    if (this.text === null) return -this.getErrno;
    return new TextEncoder().encodeInto(this.text, into).written;
  }

  make(_fd: number, value: Uint8Array): number {
    if (this.makeErrno !== 0) return -this.makeErrno;
    this.text = new TextDecoder().decode(value);
    return 0;
  }
}

async function identityOf(path: string, attributes: Attributes): Promise<{ uuid: string; warning: string | null }> {
  const { uuid, warning } = await storageIdentity({ path, fd: -1, isDevice: false }, { attributes });
  return { uuid: uuidText(uuid), warning };
}

Deno.test("storageIdentity() gives a file the UUID that it has as its attribute", async () => {
  const attributes = new FakeAttributes(UUID);
  assertEquals(await identityOf("/any/file", attributes), { uuid: UUID, warning: null });
  assertEquals(attributes.text, UUID);
});

Deno.test("storageIdentity() draws a UUID for a file that has none, and keeps it with the file", async () => {
  const attributes = new FakeAttributes();
  const { uuid, warning } = await identityOf("/any/file", attributes);
  assertEquals([attributes.text, warning], [uuid, null]);
  assertEquals(await identityOf("/any/file", attributes), { uuid, warning: null });
  assertNotEquals((await identityOf("/any/file", new FakeAttributes())).uuid, uuid);
});

Deno.test("storageIdentity() takes the UUID that another target has made at the same moment", async () => {
  const attributes = new FakeAttributes();
  attributes.make = () => {
    attributes.text = OTHER;
    return -EEXIST;
  };
  assertEquals(await identityOf("/any/file", attributes), { uuid: OTHER, warning: null });
});

Deno.test("storageIdentity() never replaces what it cannot read: a host may know the storage by it", async () => {
  const attributes = new FakeAttributes("mine");
  const error = await assertRejects(() => identityOf("/any/disk.img", attributes), UmpathError);
  assertEquals([error.code, attributes.text], ["host-lacks", "mine"]);
  assertMatch(error.message, /"\/any\/disk.img", attribute user.umpath.uuid: "mine" is none$/);
});

Deno.test("storageIdentity() keeps the UUID beside a file that can have no attributes, or no more of them", async () => {
  for (const [getErrno, makeErrno] of [[EOPNOTSUPP, EOPNOTSUPP], [ENODATA, ENOSPC], [ENODATA, EACCES]] as const) {
    using folder = new TempFolder();
    const path = folder.sparse("disk.img", 4096);
    const attributes = Object.assign(new FakeAttributes(), { getErrno, makeErrno });
    const { uuid, warning } = await identityOf(path, attributes);
    assertEquals([warning, folder.names], [null, ["disk.img", "disk.img.umpath"]]);
    assertMatch(Deno.readTextFileSync(`${path}.umpath`), new RegExp(`^${uuid} \\d+\n$`));
    assertEquals((await identityOf(path, attributes)).uuid, uuid, "it is the same at the next start");
    Deno.symlinkSync(path, `${folder.path}/link`);
    assertEquals((await identityOf(`${folder.path}/link`, attributes)).uuid, uuid, "whatever name it is given by");
  }
});

Deno.test("storageIdentity() draws another UUID for a file that has come in the place of one", async () => {
  using folder = new TempFolder();
  const path = folder.sparse("disk.img", 4096);
  const attributes = Object.assign(new FakeAttributes(), { getErrno: EOPNOTSUPP, makeErrno: EOPNOTSUPP });
  const { uuid } = await identityOf(path, attributes);
  Deno.renameSync(path, `${folder.path}/old.img`);
  folder.sparse("disk.img", 4096);
  assertNotEquals((await identityOf(path, attributes)).uuid, uuid);
});

Deno.test("storageIdentity() makes the UUID from the file's place where nothing can be kept, and says so", async () => {
  const attributes = Object.assign(new FakeAttributes(), { getErrno: EOPNOTSUPP, makeErrno: EOPNOTSUPP });
  const first = await identityOf("/proc/version", attributes); // nothing can be made in /proc, not even by root
  assertEquals(await identityOf("/proc/version", attributes), first);
  assertMatch(first.warning!, /^The UUID of "\/proc\/version" cannot be kept with it/);
  assertNotEquals((await identityOf("/proc/uptime", attributes)).uuid, first.uuid);
});

Deno.test("memoryIdentity() is another one at each start", () => {
  const [one, two] = [memoryIdentity(), memoryIdentity()];
  assertNotEquals(uuidText(one.uuid), uuidText(two.uuid));
  assertEquals([one.warning, two.warning], [null, null]);
});

// ── block devices ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** /sys with one block device, which has the numbers of /dev/null. */
class FakeSys implements Disposable {
  readonly #folder = new TempFolder();
  readonly #numbers = deviceNumbers(Deno.statSync("/dev/null").rdev!);

  constructor(files: Record<string, string>) {
    for (const [name, content] of Object.entries({ size: "8", ...files })) {
      this.#folder.write(`devices/disk/part/${name}`, content);
    }
    Deno.mkdirSync(`${this.#folder.path}/dev/block`, { recursive: true });
    Deno.symlinkSync(`${this.#folder.path}/devices/disk/part`, `${this.#folder.path}/dev/block/${this.#numbers}`);
  }

  /** What the device has that the first is a part of. */
  writeWhole(name: string, content: string): void {
    this.#folder.write(`devices/disk/${name}`, content);
  }

  write(name: string, content: string | Uint8Array): string {
    return this.#folder.write(name, content);
  }

  async identity(attributes: Attributes = new FakeAttributes()): Promise<{ uuid: string; warning: string | null }> {
    const device = { path: "/dev/null", fd: -1, isDevice: true };
    const { uuid, warning } = await storageIdentity(device, { attributes, sys: this.#folder.path });
    return { uuid: uuidText(uuid), warning };
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

async function uuidWith(files: Record<string, string>): Promise<string> {
  using sys = new FakeSys(files);
  const { uuid, warning } = await sys.identity();
  assertEquals(warning, null);
  return uuid;
}

Deno.test("storageIdentity() knows a block device by the best name that it gives of itself", async () => {
  const byWwid = await uuidWith({ wwid: "naa.5000c500a1b2c3d4" });
  assertEquals(await uuidWith({ wwid: "naa.5000c500a1b2c3d4\n", serial: "Z1" }), byWwid, "worldwide names come first");
  const others = await Promise.all([
    uuidWith({ wwid: "naa.5000c500a1b2c3d5" }),
    uuidWith({ "device/wwid": "naa.5000c500a1b2c3d4" }),
    uuidWith({ "dm/uuid": "LVM-abc" }),
    uuidWith({ serial: "Z1" }),
  ]);
  assertEquals(new Set([byWwid, ...others]).size, 5);
});

Deno.test("storageIdentity() tells the partitions of a block device apart", async () => {
  const uuidOfPart = async (partition: string | null) => {
    using sys = new FakeSys(partition === null ? {} : { partition });
    sys.writeWhole("wwid", "naa.1");
    return (await sys.identity()).uuid;
  };
  assertEquals(await uuidOfPart("1"), await uuidOfPart("1"));
  assertEquals(new Set([await uuidOfPart("1"), await uuidOfPart("2"), await uuidWith({ wwid: "naa.1" })]).size, 3);
});

Deno.test("storageIdentity() makes the UUID of a nameless block device from its number, and says so", async () => {
  using sys = new FakeSys({});
  const { uuid, warning } = await sys.identity();
  assertMatch(warning!, /^The block device "\/dev\/null" has no name of its own: its UUID is made from its number/);
  assertEquals((await sys.identity()).uuid, uuid);
});

Deno.test("storageIdentity() gives a loop device the UUID of the file behind it, and makes nothing beside that", async () => {
  using folder = new TempFolder();
  const file = folder.sparse("disk.img", 4096);
  using sys = new FakeSys({ "loop/backing_file": file });
  assertEquals(await sys.identity(new FakeAttributes(UUID)), { uuid: UUID, warning: null });
  const without = Object.assign(new FakeAttributes(), { getErrno: EOPNOTSUPP });
  assertMatch((await sys.identity(without)).warning!, /cannot be kept with it/);
  assertEquals(folder.names, ["disk.img"]);
});
