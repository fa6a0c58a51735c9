import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailure } from "../../../src/base/assert.ts";
import { rearmCommand } from "../../../src/nvme_host/async_event.ts";
import {
  type AdminCommand,
  asyncEventRequestCommand,
  connectCommand,
  connectIoQueueCommand,
  getLogPageCommand,
  identifyCommand,
  keepAliveCommand,
  propertyGetCommand,
  propertySetCommand,
  setAsyncEventConfigurationCommand,
  setHostBehaviorCommand,
  setNumberOfQueuesCommand,
} from "../../../src/nvme_host/commands.ts";
import { get } from "./fake_controller.ts";

/** 64 bytes from their hexadecimal words, "at: bytes"; all other bytes are zero. */
function vector(parts: Record<number, string>): Uint8Array {
  const bytes = new Uint8Array(64);
  for (const [at, hex] of Object.entries(parts)) {
    hex.split(" ").forEach((byte, i) => bytes[Number(at) + i] = parseInt(byte, 16));
  }
  return bytes;
}

const HOST = {
  hostId: Uint8Array.from({ length: 16 }, (_, i) => 0xf0 + i),
  subsystemNqn: "nqn.2014-08.org.example:vol",
  hostNqn: "nqn.2014-08.org.example:host",
};

const ADMIN_CONNECT = { ...HOST, qid: 0, sqsize: 31, keepAliveMs: 5000, cntlid: 0xffff };

Deno.test("connectCommand() lays out the admin queue's Connect (Base 2.0, section 6.3, figure of the command)", () => {
  const command = connectCommand(ADMIN_CONNECT);
  const expected = vector({ 0: "7f 40", 4: "01", 44: "1f 00 04 00 88 13 00 00" });
  assertEquals(command.sqe, expected);
  assertEquals([command.name, command.dataOut?.length, command.dataInBytes], ["connect", 1024, 0]);
});

Deno.test("connectIoQueueCommand() names its queue and has no keep alive", () => {
  const command = connectIoQueueCommand({ ...HOST, qid: 3, queueDepth: 127, cntlid: 7 });
  assertEquals(command.sqe, vector({ 0: "7f 40", 4: "01", 42: "03 00 7f 00 04" }));
  assertEquals(command.name, "connect of I/O queue 3");
  assertEquals(get(command.dataOut!, 16, 2), 7);
});

Deno.test("connectCommand() lays out the data (Base 2.0, section 6.3, figure of the data)", () => {
  const data = connectCommand(ADMIN_CONNECT).dataOut!;
  assertEquals(data.subarray(0, 16), HOST.hostId);
  assertEquals(data.subarray(16, 18), Uint8Array.of(0xff, 0xff));
  assertEquals(data.subarray(18, 256), new Uint8Array(238));
  const text = (at: number) => new TextDecoder().decode(data.subarray(at, data.indexOf(0, at)));
  assertEquals([text(256), text(512)], [HOST.subsystemNqn, HOST.hostNqn]);
  assertEquals(data.subarray(768), new Uint8Array(256));
});

Deno.test("connectCommand() refuses what the caller has to have checked", () => {
  assertThrows(() => connectCommand({ ...ADMIN_CONNECT, hostId: new Uint8Array(15) }), AssertionFailure);
  assertThrows(() => connectCommand({ ...ADMIN_CONNECT, subsystemNqn: "n".repeat(224) }), AssertionFailure);
  assertThrows(() => connectCommand({ ...ADMIN_CONNECT, cntlid: 1 }), AssertionFailure);
  assertThrows(() => connectIoQueueCommand({ ...HOST, qid: 0, queueDepth: 1, cntlid: 7 }), AssertionFailure);
});

Deno.test("propertyGetCommand() and propertySetCommand() (Base 2.0, sections 6.5 and 6.6)", () => {
  assertEquals(propertyGetCommand("CAP", { offset: 0, bytes: 8 }).sqe, vector({ 0: "7f 40", 4: "04", 40: "01" }));
  assertEquals(propertyGetCommand("CSTS", { offset: 0x1c, bytes: 4 }).sqe, vector({ 0: "7f 40", 4: "04", 44: "1c" }));
  const set = propertySetCommand("CC", { offset: 0x14, value: 0x00460001 });
  assertEquals(set.sqe, vector({ 0: "7f 40", 44: "14", 48: "01 00 46 00" }));
  assertEquals(set.name, "write of property CC");
});

Deno.test("identifyCommand() (Base 2.0, section 5.17)", () => {
  const namespace = identifyCommand("namespace", { cns: 0, nsid: 0x01020304 });
  assertEquals(namespace.sqe, vector({ 0: "06 40", 4: "04 03 02 01" }));
  assertEquals([namespace.name, namespace.dataInBytes], ["identify namespace", 4096]);
  const commandSet = identifyCommand("x", { cns: 6, nsid: 0, csi: 2 });
  assertEquals(commandSet.sqe, vector({ 0: "06 40", 40: "06 00 00 00 00 00 00 02" }));
});

Deno.test("set features commands (Base 2.0, section 5.27.1)", () => {
  assertEquals(setNumberOfQueuesCommand(4).sqe, vector({ 0: "09 40", 40: "07 00 00 00 03 00 03 00" }));
  assertEquals(setAsyncEventConfigurationCommand(0x900).sqe, vector({ 0: "09 40", 40: "0b 00 00 00 00 09" }));
  const behavior = setHostBehaviorCommand();
  assertEquals(behavior.sqe, vector({ 0: "09 40", 40: "16" }));
  assertEquals([behavior.dataOut?.length, behavior.dataOut?.[0], behavior.dataInBytes], [512, 1, 0]);
  assertThrows(() => setNumberOfQueuesCommand(0), AssertionFailure);
});

Deno.test("keep alive and asynchronous event requests carry an opcode only (Base 2.0, sections 5.2 and 5.18)", () => {
  assertEquals(keepAliveCommand().sqe, vector({ 0: "18 40" }));
  assertEquals(asyncEventRequestCommand().sqe, vector({ 0: "0c 40" }));
});

Deno.test("getLogPageCommand() counts dwords from 0, over 16 bits too (Base 2.0, section 5.16)", () => {
  const log = getLogPageCommand("ANA", { logId: 0x0c, nsid: 0, bytes: 4096, lsp: 1, offset: 0x100 });
  assertEquals(log.sqe, vector({ 0: "02 40", 40: "0c 01 ff 03 00 00 00 00 00 01" }));
  assertEquals([log.name, log.dataInBytes], ["read of the ANA log", 4096]);
  const large = getLogPageCommand("x", { logId: 0x70, nsid: 0, bytes: 4 * 65537 });
  assertEquals(large.sqe, vector({ 0: "02 40", 40: "70 00 00 00 01" }));
  assertThrows(() => getLogPageCommand("x", { logId: 1, nsid: 0, bytes: 6 }), AssertionFailure);
  assertEquals(rearmCommand(4)!.sqe, vector({ 0: "02 40", 4: "ff ff ff ff", 40: "04 00 ff 03" }));
  assertEquals(rearmCommand(1)!.sqe, vector({ 0: "02 40", 4: "ff ff ff ff", 40: "01 00 0f 00" }));
  assertEquals(rearmCommand(0x7f), null);
});

Deno.test("every command leaves the CID and the SGL to the connection", () => {
  const commands: AdminCommand[] = [
    connectCommand(ADMIN_CONNECT),
    propertyGetCommand("CAP", { offset: 0, bytes: 8 }),
    propertySetCommand("CC", { offset: 0x14, value: 0xffffffff }),
    identifyCommand("x", { cns: 255, nsid: 0xffffffff, csi: 255 }),
    setNumberOfQueuesCommand(65535),
    setHostBehaviorCommand(),
    keepAliveCommand(),
    asyncEventRequestCommand(),
    rearmCommand(4)!,
  ];
  for (const { name, sqe } of commands) {
    assertEquals(sqe.length, 64, name);
    assertEquals(sqe[1], 0x40, name);
    assertEquals(get(sqe, 2, 2), 0, name);
    assertEquals(sqe.subarray(24, 40), new Uint8Array(16), name);
  }
});
