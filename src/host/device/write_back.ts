/** What is dirty of a device goes to its storage before the device does. */
import { native } from "../../../ffi/library.ts";
import { cString } from "../../../ffi/result.ts";
import { errnoWords } from "../../base/errno.ts";
import { quote } from "../../base/text.ts";
import { mountsOf } from "../../io/device_users.ts";

/**
 * Writes back the file systems that are mounted from `device`, then the device itself. Takes its time on other threads;
 * the caller need not wait for it. Gives what could not be written, in words.
 */
export async function writeBack(device: string): Promise<string[]> {
  const failures: string[] = [];
  for (const folder of await mountsOf(device)) {
    const result = await native().um_write_back(cString(folder), 1);
    if (result < 0) failures.push(`${quote(folder)}: ${errnoWords(result)}`);
  }
  const result = await native().um_write_back(cString(device), 0);
  if (result < 0) failures.push(`${device}: ${errnoWords(result)}`);
  return failures;
}
