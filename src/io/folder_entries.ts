import { hostCall } from "../base/errors.ts";
import { quote } from "../base/text.ts";

/**
 * What is in the folder.
 *
 * @throws UmpathError "host-lacks" if it cannot be read.
 */
export async function folderEntries(path: string): Promise<Deno.DirEntry[]> {
  return await hostCall(`Cannot list ${quote(path)}`, () => Array.fromAsync(Deno.readDir(path)));
}
