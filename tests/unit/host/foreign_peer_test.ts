import { assertEquals } from "@std/assert";
import { failureOf } from "../../../src/host/driver/controller_session.ts";
import { foreignWords, NotNvmeTcp } from "../../../src/host/driver/host_connection.ts";

Deno.test("foreignWords() names what a peer speaks that is no NVMe/TCP controller", () => {
  const text = (words: string) => foreignWords(new TextEncoder().encode(words));
  assertEquals(text("SSH-2.0-OpenSSH_9.2\r\n"), 'it is not an NVMe/TCP port: it answered with "SSH-2.0-OpenSSH_9.2"');
  assertEquals(
    text("HTTP/1.1 400 Bad Request".slice(0, 24)),
    'it is not an NVMe/TCP port: it answered with "HTTP/1.1 400 Bad Request…"',
  );
  const alert = Uint8Array.of(0x15, 3, 1, 0, 2, 2, 10);
  assertEquals(foreignWords(alert), "it speaks TLS, which umpath does not support");
  for (const bytes of [[], [1], [1, 0, 128, 0, 128, 0, 0, 0], [0x15, 0, 0, 0], [0x41, 0x42, 0x43]]) {
    assertEquals(foreignWords(Uint8Array.from(bytes)), null, `${bytes}`);
  }
});

Deno.test("failureOf() sends whoever meets a port with TLS to the target, not to the address", () => {
  const spec = { transport: "tcp", traddr: "192.0.2.1", trsvcid: 4420, hostTraddr: null, hostIface: null } as const;
  const hintOf = (error: NotNvmeTcp) => failureOf({ spec, hostNqn: "nqn.x" }, error, { isFinal: true }).hint;
  assertEquals(
    hintOf(new NotNvmeTcp("it speaks TLS", { speaksTls: true })),
    "Let the target accept connections without TLS",
  );
  assertEquals(hintOf(new NotNvmeTcp("it is not an NVMe/TCP port")), "Check the address, the port and the target");
});
