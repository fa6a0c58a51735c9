import { assertEquals } from "@std/assert";
import { deviceUsers, deviceUseWords, mountFolders, visibleUseWords } from "../../../src/host/device_users.ts";

/** Runs `body` while another process has `path` open. */
async function withOpener(path: string, body: (pid: number) => void): Promise<void> {
  const opener = new Deno.Command("sh", {
    args: ["-c", 'exec 7<"$1"; echo; exec sleep 60', "sh", path],
    stdout: "piped",
  }).spawn();
  try {
    await opener.stdout.getReader().read();
    body(opener.pid);
  } finally {
    opener.kill("SIGKILL");
    await opener.status;
  }
}

Deno.test("deviceUsers() names who has the device or a partition of it open, and nobody else", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    for (const name of ["ublkb1", "ublkb1p2", "ublkb10"]) Deno.writeTextFileSync(`${folder}/${name}`, "");
    for (const [name, isUser] of [["ublkb1", true], ["ublkb1p2", true], ["ublkb10", false]] as const) {
      await withOpener(`${folder}/${name}`, (pid) => {
        const users = deviceUsers(`${folder}/ublkb1`);
        assertEquals(users.map((user) => user.pid), isUser ? [pid] : [], name);
      });
    }
    using _own = Deno.openSync(`${folder}/ublkb1`);
    assertEquals(deviceUsers(`${folder}/ublkb1`), []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("deviceUseWords() and visibleUseWords() say who has a device open, or null", async () => {
  const path = Deno.makeTempFileSync();
  try {
    assertEquals(deviceUseWords(path), null);
    assertEquals(visibleUseWords(path), null);
    await withOpener(path, (pid) => {
      for (const words of [deviceUseWords(path), visibleUseWords(path)]) {
        assertEquals(words, `is open in sleep (process ${pid})`);
      }
    });
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("mountFolders() says where a device or a partition of it is mounted", () => {
  const mounts = [
    "/dev/ublkb0 /mnt/my\\040data ext4 rw 0 0",
    "/dev/ublkb0p1 /srv xfs rw 0 0",
    "/dev/ublkb01 /other ext4 rw 0 0",
    "proc /proc proc rw 0 0",
    "",
  ].join("\n");
  assertEquals(mountFolders(mounts, "/dev/ublkb0"), ["/mnt/my data", "/srv"]);
  assertEquals(mountFolders(mounts, "/dev/ublkb7"), []);
  assertEquals(mountFolders("/dev/ublkb0", "/dev/ublkb0"), []);
});
