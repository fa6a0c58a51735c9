/** Names of a target that are the same at every start, made from its NQN: hosts know a namespace again by them. */

const SERIAL_CHARACTERS = 20;
/** UUID version 8 is for what its maker likes; the variant is that of RFC 9562. */
const UUID_VERSION = 0x80;
const UUID_VARIANT = 0x80;

/** The UUID (16 bytes) of a namespace that was given none. */
export async function derivedUuid(nqn: string, nsid: number): Promise<Uint8Array<ArrayBuffer>> {
  const uuid = (await digest(`umpath uuid ${nsid} ${nqn}`)).slice(0, 16);
  uuid[6] = (uuid[6]! & 0x0f) | UUID_VERSION;
  uuid[8] = (uuid[8]! & 0x3f) | UUID_VARIANT;
  return uuid;
}

/** The NGUID (16 bytes) of the namespace with that UUID. */
export async function derivedNguid(uuid: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return (await digest(`umpath nguid ${uuidText(uuid)}`)).slice(0, 16);
}

/** The serial number of a subsystem that was given none. */
export async function derivedSerial(nqn: string): Promise<string> {
  return (await digest(`umpath serial ${nqn}`)).toHex().slice(0, SERIAL_CHARACTERS);
}

async function digest(text: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

/** 16 bytes as `8-4-4-4-12` hexadecimal digits. */
export function uuidText(bytes: Uint8Array): string {
  const hex = bytes.toHex();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** The bytes of a UUID in text form. */
export function uuidBytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(text.replaceAll("-", ""));
}
