import { assertEquals } from "@std/assert";
import { deviceUsers, deviceUseWords, lastingUseWords, mountFolders } from "../../../src/io/device_users.ts";

/** Runs `body` while another process has `path` open. */
async function withOpener(path: string, body: (pid: number) => Promise<void>): Promise<void> {
  const opener = new Deno.Command("sh", {
    args: ["-c", 'exec 7<"$1"; echo; exec sleep 60', "sh", path],
    stdout: "piped",
  }).spawn();
  try {
    await opener.stdout.getReader().read();
    await body(opener.pid);
  } finally {
    opener.kill("SIGKILL");
    await opener.status;
  }
}

/** What a kernel might tell: files with their text, folders made on the way; "@" before a text makes it a link. */
async function withKernel(
  files: Record<string, string>,
  body: (kernel: { proc: string; sys: string }) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "umpath-users-" });
  try {
    for (const [path, text] of Object.entries(files)) {
      Deno.mkdirSync(`${folder}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      if (text.startsWith("@")) Deno.symlinkSync(text.slice(1), `${folder}/${path}`);
      else Deno.writeTextFileSync(`${folder}/${path}`, text);
    }
    await body({ proc: `${folder}/proc`, sys: `${folder}/sys` });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const OURS = "@mnt:[4026531841]";
const DISK = {
  "sys/block/loop3/dev": "7:3\n",
  "sys/block/loop3/loop3p1/dev": "259:1\n",
  "sys/block/loop3/queue/rotational": "0\n",
  "proc/self/ns/mnt": OURS,
  "proc/self/mountinfo": "27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n",
  "proc/swaps": "Filename Type Size Used Priority\n",
};

const USES: [what: string, files: Record<string, string>, words: string | null][] = [
  ["nothing", {}, null],
  ["a mount", {
    "proc/self/mountinfo": "40 27 7:3 / /mnt/my\\040data rw - ext4 /dev/disk/by-id/x rw\n",
  }, 'is mounted on "/mnt/my data"'],
  ["a mount of a partition", {
    "proc/self/mountinfo": "40 27 259:1 / /srv rw - xfs /dev/root rw\n",
  }, 'is mounted on "/srv"'],
  ["a file system of several devices", {
    "proc/self/mountinfo": "40 27 0:44 / /srv rw - btrfs /dev/loop3 rw\n",
  }, 'is mounted on "/srv"'],
  ["swap", { "proc/swaps": "Filename Type\n/dev/loop3p1 partition 8 0 -2\n" }, "is used as swap space"],
  ["device mapper and md", {
    "sys/block/loop3/holders/dm-0": "",
    "sys/block/dm-0/dm/name": "vgb-lv\n",
    "sys/block/loop3/loop3p1/holders/md0": "",
  }, "is held by dm-0 (vgb-lv) and md0"],
  ["a loop device over it", {
    "sys/block/loop4/loop/backing_file": "/dev/loop3\n",
    "sys/block/loop5/loop/backing_file": "/dev/loop31\n",
  }, "is held by /dev/loop4"],
  ["a mount in another namespace", {
    "proc/17/ns/mnt": OURS,
    "proc/17/mountinfo": "40 27 7:3 / /seen rw - ext4 /dev/loop3 rw\n",
    "proc/18/ns/mnt": "@mnt:[4026532777]",
    "proc/18/comm": "postgres\n",
    "proc/18/mountinfo": "40 27 7:3 / /data rw - ext4 /dev/loop3 rw\n",
  }, 'is mounted on "/data" in the mount namespace of postgres (process 18)'],
  ["a process", { "proc/19/fd/3": "@/dev/loop3p1", "proc/19/comm": "dd\n" }, "is open in dd (process 19)"],
  ["others' devices", {
    "proc/19/fd/3": "@/dev/loop31",
    "proc/self/mountinfo": "40 27 7:31 / /srv rw - xfs /dev/loop31 rw\n",
    "sys/block/loop31/holders/dm-0": "",
  }, null],
];

for (const [what, files, words] of USES) {
  Deno.test(`deviceUseWords() of a device that is used by ${what}`, () =>
    withKernel({ ...DISK, ...files }, async (kernel) => {
      assertEquals(await deviceUseWords("/dev/loop3", kernel), words);
    }));
}

Deno.test("deviceUsers() names who has the device or a partition of it open, and nobody else", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    for (const name of ["ublkb1", "ublkb1p2", "ublkb10"]) Deno.writeTextFileSync(`${folder}/${name}`, "");
    for (const [name, isUser] of [["ublkb1", true], ["ublkb1p2", true], ["ublkb10", false]] as const) {
      await withOpener(`${folder}/${name}`, async (pid) => {
        const users = await deviceUsers(`${folder}/ublkb1`);
        assertEquals(users.map((user) => user.pid), isUser ? [pid] : [], name);
      });
    }
    using _own = Deno.openSync(`${folder}/ublkb1`);
    assertEquals(await deviceUsers(`${folder}/ublkb1`), []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("lastingUseWords() says who has a device open, unless it is closed in a moment", async () => {
  const path = Deno.makeTempFileSync();
  try {
    let closed: Promise<string | null> = Promise.resolve(null);
    await withOpener(path, async (pid) => {
      assertEquals(await lastingUseWords(path), `is open in sleep (process ${pid})`);
      assertEquals(await deviceUseWords(path), `is open in sleep (process ${pid})`);
      closed = lastingUseWords(path, 60_000);
    });
    assertEquals(await closed, null);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("mountFolders() passes over lines that are cut", () => {
  const disk = { device: "/dev/ublkb0", numbers: new Set(["259:0"]) };
  for (const line of ["", "/dev/ublkb0", "1 2 259:0 / /mnt", "40 27 1:1 / /mnt rw -"]) {
    assertEquals(mountFolders(line, disk), []);
  }
});
