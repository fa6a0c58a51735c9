/**
 * Inside the virtual machine: a ublk device on which nothing happens, served in TypeScript, beside the kernel's null_blk;
 * fio runs on the two in turns. The series are the last line of stdout.
 */
import { NullBlock } from "../vm/null_block.ts";
import { run } from "../vm/process.ts";
import { warmUp } from "./fio_sample.ts";
import { NullUblkDevice } from "./null_ublk_device.ts";
import { VM_NULL_CASES } from "./vm_cases.ts";
import { measureInTurns, SIZE_MIB } from "./vm_fio.ts";

const WARM_UP_S = 8;

async function main(): Promise<void> {
  await run("modprobe", ["ublk_drv"], { check: true });
  const ublk = await NullUblkDevice.create(SIZE_MIB);
  const nullBlk = await NullBlock.create({ sizeMiB: SIZE_MIB, blockSize: 4096, attributes: { memory_backed: 0 } });
  const devices: Record<string, string> = { "umpath, null device": ublk.path, null_blk: nullBlk.device };
  await warmUp(ublk.path, { sizeMiB: SIZE_MIB, seconds: WARM_UP_S });
  const series = await measureInTurns({ loads: VM_NULL_CASES, devices });
  await ublk.destroy();
  await nullBlk.close();
  console.log(JSON.stringify(series));
}

if (import.meta.main) await main();
