/**
 * One run of the test machine: qemu, its virtiofsd processes and the sockets between them and us.
 *
 * Nothing outlives it. The children carry a parent-death signal, so that they end even when this process is killed;
 * the socket files are removed as soon as everybody is connected.
 */
import type { VmKernel } from "./vm_kernel.ts";
import { Tail } from "./vm_stream.ts";

/** What to boot. */
export interface MachineOptions {
  kernel: VmKernel;
  /** The repository, seen in the machine under the same path. */
  repo: string;
  /** The development cache, likewise. */
  cache: string;
  /** A host folder mounted read-write at /out. */
  out?: string;
  /** Adds a terminal, /dev/hvc0. */
  terminal: boolean;
}

const VIRTIOFSD = "/usr/lib/qemu/virtiofsd";
const MEMORY = "3G";
const CONSOLE_TAIL_LENGTH = 256 * 1024;
const CONNECT_TIMEOUT_MS = 30_000;
const END_WAIT_MS = 1000;

/** A booting or running machine. */
export class Machine {
  /** Serial console: what the kernel says when it is in trouble. */
  readonly console = new Tail(CONSOLE_TAIL_LENGTH);
  readonly #children: Deno.ChildProcess[] = [];
  readonly #following: Promise<void>[] = [];
  readonly #listeners: Deno.UnixListener[] = [];
  readonly #connections: Deno.UnixConn[] = [];
  #folder: string | undefined;
  #qemu: Deno.ChildProcess | undefined;
  #closed = false;

  /** Starts virtiofsd and qemu; returns the ports once they are connected. */
  async start(options: MachineOptions): Promise<Record<string, Deno.UnixConn>> {
    sweep();
    const folder = `/tmp/umpath-vm-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    Deno.mkdirSync(folder, { mode: 0o700 });
    this.#folder = folder;
    await this.#startVirtiofsd(`${folder}/rootfs`, "/", "always");
    if (options.out) await this.#startVirtiofsd(`${folder}/out`, options.out, "none");

    const names = ["control", "stdout", "stderr", "log", ...(options.terminal ? ["terminal"] : [])];
    const accepting = names.map((name) => this.#accept(`${folder}/${name}`));
    const qemu = this.#spawn("qemu-system-x86_64", qemuArgs(folder, options));
    this.#qemu = qemu;
    const early = qemu.status.then((status) => {
      throw new Error(`Cannot start qemu: it ended with exit code ${status.code}\n${this.console.text(20)}`);
    });
    early.catch(() => {});
    const connections = await withTimeout(Promise.race([Promise.all(accepting), early]), "qemu to connect its ports");
    this.#removeFolder();
    return Object.fromEntries(names.map((name, i) => [name, connections[i]!]));
  }

  /** How qemu ended by itself, in words, once its last words are in `console`; asked when its ports have closed. */
  async howItEnded(): Promise<string> {
    const pause = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), END_WAIT_MS));
    const status = await Promise.race([this.#qemu?.status, pause]);
    await Promise.race([Promise.all(this.#following), pause]);
    if (!status) return "qemu is still there";
    return status.signal ? `qemu was ended by ${status.signal}` : `qemu ended with exit code ${status.code}`;
  }

  /** Ends the machine and removes everything that belongs to it. Harmless when repeated. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const child of this.#children.toReversed()) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    }
    for (const listener of this.#listeners) closeQuietly(listener);
    for (const connection of this.#connections) closeQuietly(connection);
    await Promise.all(this.#children.map((child) => child.status));
    this.#removeFolder();
  }

  async #startVirtiofsd(socket: string, source: string, cache: string): Promise<void> {
    const args = [`--socket-path=${socket}`, "-o", `source=${source}`, "-o", `cache=${cache}`, "-o", "sandbox=chroot"];
    const child = this.#spawn(VIRTIOFSD, [...args, "-o", "log_level=err"]);
    let ended = false;
    child.status.then(() => ended = true);
    const started = async () => {
      while (!exists(socket)) {
        if (ended) throw new Error(`Cannot start ${VIRTIOFSD} for ${source}\n${this.console.text(20)}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    await withTimeout(started(), `${VIRTIOFSD} to listen`);
  }

  #spawn(program: string, args: string[]): Deno.ChildProcess {
    const child = new Deno.Command("setsid", {
      args: ["setpriv", "--pdeathsig", "KILL", program, ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#children.push(child);
    for (const stream of [child.stdout, child.stderr]) {
      this.#following.push(this.console.follow(stream).catch(() => {}));
    }
    return child;
  }

  async #accept(path: string): Promise<Deno.UnixConn> {
    const listener = Deno.listen({ transport: "unix", path });
    this.#listeners.push(listener);
    const connection = await listener.accept();
    this.#connections.push(connection);
    return connection;
  }

  #removeFolder(): void {
    const folder = this.#folder;
    if (!folder) return;
    this.#folder = undefined;
    removeFolder(folder);
  }
}

/**
 * An emulated processor without "enhanced rep movsb": the emulator would carry that out byte by byte, so that a copy would
 * cost nine times as much (0.2 instead of 1.8 GB/s), out of all proportion to the code around it.
 */
const EMULATED_CPU = "max,erms=off,fsrm=off";

function qemuArgs(folder: string, options: MachineOptions): string[] {
  const kvm = Deno.env.get("UMPATH_VM_ACCEL") === "kvm";
  const kernelLine = [
    "console=ttyS0 rootfstype=virtiofs root=rootfs ro panic=-1 mitigations=off log_buf_len=4M quiet",
    `init="${options.repo}/scripts/vm_init.sh"`,
    `UMPATH_VM_REPO="${options.repo}"`,
    `UMPATH_VM_CACHE="${options.cache}"`,
    `UMPATH_VM_KERNEL="${options.kernel.folder}"`,
    ...(options.out ? ["UMPATH_VM_OUT=1"] : []),
  ].join(" ");
  return [
    ...["-accel", kvm ? "kvm" : "tcg,thread=multi,tb-size=1024", "-cpu", kvm ? "host" : EMULATED_CPU, "-smp", "2"],
    ...["-m", MEMORY, "-object", `memory-backend-memfd,id=mem,size=${MEMORY},share=on`, "-numa", "node,memdev=mem"],
    ...["-nodefaults", "-nic", "none", "-display", "none", "-no-reboot"],
    ...["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"],
    ...virtiofsArgs(folder, "rootfs"),
    ...(options.out ? virtiofsArgs(folder, "out") : []),
    ...["-device", "virtio-serial-pci"],
    ...portArgs(folder, "control", 1),
    ...portArgs(folder, "stdout", 2),
    ...portArgs(folder, "stderr", 3),
    ...portArgs(folder, "log", 4),
    ...(options.terminal ? terminalArgs(folder) : []),
    ...["-kernel", `${options.kernel.folder}/vmlinuz`, "-append", kernelLine],
  ];
}

function virtiofsArgs(folder: string, tag: string): string[] {
  return [
    "-chardev",
    `socket,id=${tag},path=${folder}/${tag}`,
    "-device",
    `vhost-user-fs-pci,chardev=${tag},tag=${tag}`,
  ];
}

function portArgs(folder: string, name: string, number: number): string[] {
  const device = `virtserialport,chardev=${name},name=${name},nr=${number}`;
  return ["-chardev", `socket,id=${name},path=${folder}/${name}`, "-device", device];
}

function terminalArgs(folder: string): string[] {
  return ["-chardev", `socket,id=terminal,path=${folder}/terminal`, "-device", "virtconsole,chardev=terminal,nr=0"];
}

/** Removes what runs that were killed while starting left in /tmp. */
function sweep(): void {
  for (const entry of Deno.readDirSync("/tmp")) {
    const pid = /^umpath-vm-(\d+)-/.exec(entry.name)?.[1];
    if (pid && !exists(`/proc/${pid}`)) removeFolder(`/tmp/${entry.name}`);
  }
}

/** Removes a socket folder, and the lock files that virtiofsd names after its sockets and never removes. */
function removeFolder(folder: string): void {
  Deno.removeSync(folder, { recursive: true });
  const prefix = `${folder.slice(1).replaceAll("/", ".")}.`;
  for (const locks of ["/var/run/virtiofsd", "/run/virtiofsd"]) {
    if (!exists(locks)) continue;
    for (const entry of Deno.readDirSync(locks)) {
      if (entry.name.startsWith(prefix)) Deno.removeSync(`${locks}/${entry.name}`);
    }
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function closeQuietly(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // It was closed by its stream.
  }
}

async function withTimeout<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Timed out waiting for ${what}`)), CONNECT_TIMEOUT_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
