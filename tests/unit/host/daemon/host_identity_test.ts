import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { UmpathError } from "../../../../src/base/errors.ts";
import { hostIdentity } from "../../../../src/host/daemon/host_identity.ts";
import { DISCOVERY_NQN, nqnFault, nqnFormFault } from "../../../../src/settings/nqn.ts";

const UUID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9";
const UUID_NQN = `nqn.2014-08.org.nvmexpress:uuid:${UUID}`;

function withFolders(body: (etcPath: string, runDirPath: string) => void): void {
  const path = Deno.makeTempDirSync({ prefix: "umpath-identity-" });
  try {
    Deno.mkdirSync(`${path}/run`);
    body(`${path}/nvme`, `${path}/run`);
  } finally {
    Deno.removeSync(path, { recursive: true });
  }
}

Deno.test("hostIdentity() makes both files once, in the form of nvme-cli", () => {
  withFolders((etcPath, runDirPath) => {
    const first = hostIdentity({ etcPath, runDirPath });
    assertEquals(first.hostNqn, `nqn.2014-08.org.nvmexpress:uuid:${first.hostId}`);
    assertMatch(first.hostId, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    assertEquals(Deno.readTextFileSync(`${etcPath}/hostnqn`), `${first.hostNqn}\n`);
    assertEquals(Deno.readTextFileSync(`${etcPath}/hostid`), `${first.hostId}\n`);
    assertEquals(hostIdentity({ etcPath, runDirPath }), first);
    assertEquals([...Deno.readDirSync(etcPath)].length, 2);
  });
});

Deno.test("hostIdentity() takes the missing half from the other", () => {
  withFolders((etcPath, runDirPath) => {
    Deno.mkdirSync(etcPath);
    Deno.writeTextFileSync(`${etcPath}/hostnqn`, UUID_NQN);
    assertEquals(hostIdentity({ etcPath, runDirPath }), { hostNqn: UUID_NQN, hostId: UUID });
    Deno.removeSync(`${etcPath}/hostnqn`);
    assertEquals(hostIdentity({ etcPath, runDirPath }), { hostNqn: UUID_NQN, hostId: UUID });
    assertEquals(Deno.readTextFileSync(`${etcPath}/hostnqn`), `${UUID_NQN}\n`);
  });
});

Deno.test("hostIdentity() fills an empty file and keeps a name that is not a UUID", () => {
  withFolders((etcPath, runDirPath) => {
    Deno.mkdirSync(etcPath);
    Deno.writeTextFileSync(`${etcPath}/hostnqn`, "nqn.2026-11.com.example:host\n");
    Deno.writeTextFileSync(`${etcPath}/hostid`, "");
    const identity = hostIdentity({ etcPath, runDirPath });
    assertEquals(identity.hostNqn, "nqn.2026-11.com.example:host");
    assertEquals(Deno.readTextFileSync(`${etcPath}/hostid`), `${identity.hostId}\n`);
  });
});

Deno.test("hostIdentity() fills blank files, so that the host is the same the next time", () => {
  withFolders((etcPath, runDirPath) => {
    Deno.mkdirSync(etcPath);
    for (const file of ["hostnqn", "hostid"]) Deno.writeTextFileSync(`${etcPath}/${file}`, "\n");
    const identity = hostIdentity({ etcPath, runDirPath });
    assertEquals(hostIdentity({ etcPath, runDirPath }), identity);
    assertEquals(Deno.readTextFileSync(`${etcPath}/hostid`), `${identity.hostId}\n`);
  });
});

Deno.test("hostIdentity() refuses a file that says something, but not in its first line", () => {
  withFolders((etcPath, runDirPath) => {
    Deno.mkdirSync(etcPath);
    Deno.writeTextFileSync(`${etcPath}/hostnqn`, " \nnqn.2026-11.com.example:host\n");
    assertThrows(() => hostIdentity({ etcPath, runDirPath }), UmpathError, "its first line is empty");
  });
});

Deno.test("hostIdentity() keeps the identity in the run folder where /etc cannot be written", () => {
  withFolders((_etcPath, runDirPath) => {
    const warnings: string[] = [];
    const options = { etcPath: "/proc/nvme", runDirPath, onWarning: (message: string) => warnings.push(message) };
    const first = hostIdentity(options);
    assertEquals(hostIdentity(options), first);
    assertStringIncludes(warnings[0]!, "until the next boot");
  });
});

Deno.test("hostIdentity() lets the user name the host", () => {
  withFolders((etcPath, runDirPath) => {
    const hostNqn = "nqn.2026-11.com.example:host";
    const both = hostIdentity({ etcPath, runDirPath, hostNqn, hostId: UUID.toUpperCase() });
    assertEquals(both, { hostNqn, hostId: UUID });
    assertThrows(() => Deno.statSync(etcPath), Deno.errors.NotFound);
    assertEquals(hostIdentity({ etcPath, runDirPath, hostNqn: UUID_NQN }).hostId, UUID);
    const kept = hostIdentity({ etcPath, runDirPath });
    assertEquals(hostIdentity({ etcPath, runDirPath, hostNqn }), { hostNqn, hostId: kept.hostId });
  });
});

Deno.test("hostIdentity() refuses bad names and says where they stand", () => {
  withFolders((etcPath, runDirPath) => {
    const usage = (options: { hostNqn?: string; hostId?: string }) =>
      assertThrows(() => hostIdentity({ etcPath, runDirPath, ...options }), UmpathError);
    assertEquals(usage({ hostNqn: "me" }).code, "usage");
    assertStringIncludes(usage({ hostNqn: "me" }).message, '"me" for --hostnqn');
    assertStringIncludes(usage({ hostId: "00000000-0000-0000-0000-000000000000" }).message, "--hostid");
    Deno.mkdirSync(etcPath);
    Deno.writeTextFileSync(`${etcPath}/hostid`, "12345\n");
    const error = assertThrows(() => hostIdentity({ etcPath, runDirPath }), UmpathError);
    assertEquals(error.code, "host-lacks");
    assertStringIncludes(error.message, `${etcPath}/hostid`);
  });
});

Deno.test("nqnFormFault() accepts names and says what is wrong with others", () => {
  const good = [
    "nqn.2026-11.io.test:vol",
    "nqn.2014-08.org.nvmexpress:NVMf:uuid:1",
    UUID_NQN,
    DISCOVERY_NQN,
    "nqn.2016-06.io.spdk:cnode1",
    "nqn.2001-01.com.example:größe:a:b",
    "nqn.2001-01.com.example",
    "nqn.2001-01.com.example:" + "x".repeat(199),
  ];
  for (const nqn of good) assertEquals(nqnFormFault(nqn), null, nqn);
  const bad: [string, string][] = [
    ["", "is empty"],
    ["vol", 'start with "nqn."'],
    ["NQN.2026-11.io.test:vol", 'start with "nqn."'],
    ["iqn.2026-11.io.test:vol", 'start with "nqn."'],
    ["nqn.test", "no year and month"],
    ["nqn.2026-1.io.test:vol", "no year and month"],
    ["nqn.2026-13.io.test:vol", "names month 13"],
    ["nqn.2026-00.io.test:vol", "names month 00"],
    ["nqn.2026-11.:vol", "no reversed domain name"],
    ["nqn.2026-11.io..test:vol", "no reversed domain name"],
    ["nqn.2026-11.io.te st:vol", "no reversed domain name"],
    ["nqn.2026-11.io.test:", "nothing after"],
    ["nqn.2026-11.io.test:a\nb", "control character"],
    ["nqn.2026-11.io.test:a\ufffd", "not UTF-8"],
    ["nqn.2026-11.io.test:\ud800", "not UTF-8"],
    ["nqn.2014-08.org.nvmexpress:uuid:123", "no UUID"],
    ["nqn.2001-01.com.example:" + "x".repeat(200), "longer than 223 bytes"],
    ["nqn.2001-01.com.example:" + "ö".repeat(100), "longer than 223 bytes"],
  ];
  for (const [nqn, why] of bad) {
    const fault = nqnFormFault(nqn);
    assert(fault !== null, nqn);
    assertStringIncludes(fault, why);
  }
});

Deno.test("nqnFault() accepts any name of 1 to 223 bytes without control characters", () => {
  for (const nqn of ["nvmet-test", "nqn.2022-01.my_company:vol", "a/b", "x".repeat(223)]) {
    assertEquals(nqnFault(nqn), null, nqn);
  }
  for (const nqn of ["", "a\x7f", "a\tb", "x".repeat(224), "a\ud800"]) assert(nqnFault(nqn) !== null, nqn);
});
