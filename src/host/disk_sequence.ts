/**
 * The kernel's sequence number of a disk: what is in a block device changes, the device gets the next number that no
 * device of this boot has had. So the name of a device and this number name one device for ever.
 */

/** The number of `device` as it is now, in decimal; null if there is no such device. Does not touch the device. */
export async function diskSequence(device: string): Promise<string | null> {
  try {
    return (await Deno.readTextFile(`/sys/block/${device.slice(device.lastIndexOf("/") + 1)}/diskseq`)).trim();
  } catch {
    return null;
  }
}
