import { assertEquals } from "@std/assert";
import { ECONNREFUSED } from "../../../src/base/errno.ts";
import { listenToLog, setLogSink } from "../../../src/base/log.ts";
import { failureOf } from "../../../src/host/driver/controller_session.ts";
import { foreignWords } from "../../../src/control/greeting.ts";
import { ConnectionLost, NotNvmeTcp } from "../../../src/host/driver/host_connection.ts";
import { ConnectFailure } from "../../../src/io/tcp.ts";
import { AdminError } from "../../../src/nvme_host/steps.ts";

const SPEC = { transport: "tcp", traddr: "192.0.2.1", trsvcid: 4420, hostTraddr: null, hostIface: null } as const;

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
  const hintOf = (error: NotNvmeTcp) => failureOf({ spec: SPEC, hostNqn: "nqn.x" }, error, { isFinal: true }).hint;
  assertEquals(
    hintOf(new NotNvmeTcp("it speaks TLS", { speaksTls: true })),
    "Let the target accept connections without TLS",
  );
  assertEquals(hintOf(new NotNvmeTcp("it is not an NVMe/TCP port")), "Check the address, the port and the target");
});

Deno.test("failureOf() logs the cause of an error once: a status by its number, and no reason twice", () => {
  const loggedOf = (error: Error): string[] => {
    const lines: string[] = [];
    const end = listenToLog((_level, text) => lines.push(text));
    setLogSink(() => {});
    try {
      failureOf({ spec: SPEC, hostNqn: "nqn.x" }, error, { isFinal: false });
    } finally {
      setLogSink(null);
      end();
    }
    return lines;
  };
  const refused = "connection refused";
  const connect = new ConnectionLost(refused, { cause: new ConnectFailure(refused, ECONNREFUSED) });
  assertEquals(loggedOf(connect), ['path: Cannot connect to "192.0.2.1:4420": connection refused']);
  assertEquals(
    loggedOf(new AdminError("refused", "Connect is refused", true, 0x82)),
    ['path: Cannot connect to "192.0.2.1:4420": connect is refused (status 0x82)'],
  );
  assertEquals(loggedOf(new ConnectionLost("the controller closed the connection")), []);
});
