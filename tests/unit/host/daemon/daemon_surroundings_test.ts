import { assertEquals } from "@std/assert";
import { cgroupRoot } from "../../../../src/host/daemon/daemon_surroundings.ts";

Deno.test("cgroupRoot() finds the mount of the whole cgroup2 tree, and no part of it", () => {
  const cgroup = "30 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";
  const part = "31 23 0:27 /system.slice /some/cgroup rw - cgroup2 cgroup2 rw";
  const whole = "32 23 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
  assertEquals(cgroupRoot([cgroup, part, whole, ""].join("\n")), "/sys/fs/cgroup/unified");
  assertEquals(cgroupRoot([cgroup, part].join("\n")), null);
  assertEquals(cgroupRoot(""), null);
});
