/**
 * Who this host is to a storage system. It is kept where nvme-cli keeps it, so that both are the same host: the host NQN in
 * `/etc/nvme/hostnqn`, the host identifier in `/etc/nvme/hostid`. What is missing is made; where `/etc` cannot be written,
 * it is kept in the run folder, which lasts until the next boot.
 */
import { hostCall, messageOf, UmpathError } from "../../base/errors.ts";
import { midSentence, quote } from "../../base/text.ts";
import { isUuid, nqnFormFault, uuidNqn, uuidOfNqn } from "../../settings/nqn.ts";

const ETC_NVME = "/etc/nvme";
/** Where an identity is kept that needs no run folder. */
export const HOST_IDENTITY_FILES: readonly string[] = Object.freeze([`${ETC_NVME}/hostnqn`, `${ETC_NVME}/hostid`]);

/** What Fabrics Connect tells the controller. */
export interface HostIdentity {
  hostNqn: string;
  /** UUID in text form. */
  hostId: string;
}

/** Where identities are kept, what the user named, and who hears of what is odd. */
export interface HostIdentityOptions {
  /** The folder that is used when the first one cannot be written. */
  runDirPath: string;
  etcPath?: string;
  /** Instead of what is kept. */
  hostNqn?: string | undefined;
  hostId?: string | undefined;
  onWarning?: (message: string) => void;
}

/** The identity of this host; makes and keeps what is missing. */
export function hostIdentity(options: HostIdentityOptions): HostIdentity {
  const named = checkNamed(options);
  if (named.hostNqn !== null && named.hostId !== null) return { hostNqn: named.hostNqn, hostId: named.hostId };
  const kept = keptIdentity(options);
  const hostNqn = named.hostNqn ?? kept.hostNqn;
  const derived = named.hostNqn === null ? null : uuidOfNqn(named.hostNqn);
  return { hostNqn, hostId: named.hostId ?? derived ?? kept.hostId };
}

function checkNamed(options: HostIdentityOptions): { hostNqn: string | null; hostId: string | null } {
  const { hostNqn, hostId } = options;
  const fault = hostNqn === undefined ? null : nqnFormFault(hostNqn);
  if (fault !== null) throw new UmpathError("usage", `Cannot use ${quote(hostNqn!)} for --hostnqn: it ${fault}`);
  if (hostId !== undefined && !isUuid(hostId)) {
    throw new UmpathError("usage", `Cannot use ${quote(hostId)} for --hostid: it is not a UUID`, {
      hint: "Write it as 8-4-4-4-12 hexadecimal digits, not all zero",
    });
  }
  return { hostNqn: hostNqn ?? null, hostId: hostId?.toLowerCase() ?? null };
}

function keptIdentity(options: HostIdentityOptions): HostIdentity {
  const etcPath = options.etcPath ?? ETC_NVME;
  const etc = readIdentity(etcPath);
  if (etc.hostNqn !== null && etc.hostId !== null) return etc as HostIdentity;
  const run = readIdentity(options.runDirPath);
  const hostId = etc.hostId ?? uuidOf(etc.hostNqn) ?? run.hostId ?? uuidOf(run.hostNqn) ?? crypto.randomUUID();
  const wanted: HostIdentity = { hostId, hostNqn: etc.hostNqn ?? (etc.hostId ? null : run.hostNqn) ?? uuidNqn(hostId) };
  try {
    return keepIdentity(etcPath, wanted);
  } catch (error) {
    options.onWarning?.(
      `Cannot keep the identity of this host in ${quote(etcPath)}: ${midSentence(messageOf(error))}; ` +
        `it is kept in ${quote(options.runDirPath)} until the next boot`,
    );
    return keepIdentity(options.runDirPath, wanted);
  }
}

/** Writes what is missing; of two that write at once the first wins, and both get what it wrote. */
function keepIdentity(folder: string, wanted: HostIdentity): HostIdentity {
  hostCall(`Cannot make folder ${quote(folder)}`, () => Deno.mkdirSync(folder, { recursive: true }));
  writeIfMissing(`${folder}/hostnqn`, wanted.hostNqn);
  writeIfMissing(`${folder}/hostid`, uuidOf(readWord(`${folder}/hostnqn`)) ?? wanted.hostId);
  const kept = readIdentity(folder);
  return { hostNqn: kept.hostNqn ?? wanted.hostNqn, hostId: kept.hostId ?? wanted.hostId };
}

function readIdentity(folder: string): { hostNqn: string | null; hostId: string | null } {
  const hostNqn = readWord(`${folder}/hostnqn`);
  const fault = hostNqn === null ? null : nqnFormFault(hostNqn);
  if (fault !== null) throw badFile(`${folder}/hostnqn`, `the host NQN ${quote(hostNqn!)} ${fault}`);
  const hostId = readWord(`${folder}/hostid`);
  if (hostId !== null && !isUuid(hostId)) throw badFile(`${folder}/hostid`, `${quote(hostId)} is not a UUID`);
  return { hostNqn, hostId: hostId?.toLowerCase() ?? null };
}

function badFile(path: string, why: string): UmpathError {
  return new UmpathError("host-lacks", `Cannot use ${quote(path)}: ${why}`, {
    hint: "Correct or remove the file, or name the host with --hostnqn and --hostid",
  });
}

/** The first line of a file, or null if there is no such file, it is blank, or we may not read it. */
function readWord(path: string): string | null {
  const text = readText(path)?.trimEnd() ?? "";
  if (text === "") return null;
  const word = text.split("\n")[0]!.trim();
  if (word === "") throw badFile(path, "its first line is empty");
  return word;
}

function readText(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    const { NotFound, NotADirectory, PermissionDenied } = Deno.errors;
    if (error instanceof NotFound || error instanceof NotADirectory || error instanceof PermissionDenied) return null;
    throw badFile(path, messageOf(error));
  }
}

/** Makes the whole file appear at once. */
function writeIfMissing(path: string, word: string): void {
  if (readWord(path) !== null) return;
  const draft = `${path}.${crypto.randomUUID()}`;
  hostCall(
    `Cannot write ${quote(path)}`,
    () => Deno.writeTextFileSync(draft, `${word}\n`, { createNew: true, mode: 0o644 }),
  );
  try {
    if (readText(path)?.trim() === "") Deno.renameSync(draft, path);
    else Deno.linkSync(draft, path);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  } finally {
    removeQuietly(draft);
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    return;
  }
}

function uuidOf(nqn: string | null): string | null {
  return nqn === null ? null : uuidOfNqn(nqn);
}
