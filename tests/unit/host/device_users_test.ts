import { assertEquals } from "@std/assert";
import { deviceUsers } from "../../../src/host/device_users.ts";

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
