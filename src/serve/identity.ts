/** Names that hosts know a namespace and a subsystem again by, as text and bytes, and those that are made from another. */

const SERIAL_CHARACTERS = 20;
/** UUID version 8 is for what its maker likes; the variant is that of RFC 9562. */
const UUID_VERSION = 0x80;
const UUID_VARIANT = 0x80;

/** The UUID (16 bytes) that belongs to a text which names one storage and no other. */
export async function derivedUuid(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const uuid = (await digest(`umpath uuid ${text}`)).slice(0, 16);
  uuid[6] = (uuid[6]! & 0x0f) | UUID_VERSION;
  uuid[8] = (uuid[8]! & 0x3f) | UUID_VARIANT;
  return uuid;
}

/** A UUID (16 bytes) that nobody has. */
export function newUuid(): Uint8Array<ArrayBuffer> {
  return uuidBytes(crypto.randomUUID());
}

/** The NGUID (16 bytes) of the namespace with that UUID. */
export async function derivedNguid(uuid: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return (await digest(`umpath nguid ${uuidText(uuid)}`)).slice(0, 16);
}

/** The serial number of a subsystem that was given none: that of its first namespace's storage. */
export async function derivedSerial(uuid: Uint8Array): Promise<string> {
  return (await digest(`umpath serial ${uuidText(uuid)}`)).toHex().slice(0, SERIAL_CHARACTERS);
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
