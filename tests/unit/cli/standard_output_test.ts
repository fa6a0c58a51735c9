import { assertEquals } from "@std/assert";
import { isReadOnly } from "../../../src/cli/standard_output.ts";

Deno.test("isReadOnly() reads the access mode among the flags of a descriptor", () => {
  const info = (flags: string) => `pos:\t0\nflags:\t${flags}\nmnt_id:\t26\nino:\t5\n`;
  for (const flags of ["0100000", "02100000", "00"]) assertEquals(isReadOnly(info(flags)), true, flags);
  for (const flags of ["0100001", "0100002", "0102001", "02", "01"]) {
    assertEquals(isReadOnly(info(flags)), false, flags);
  }
  for (const text of ["", "pos:\t0\n", "flags:\t\n"]) assertEquals(isReadOnly(text), false, text);
});
