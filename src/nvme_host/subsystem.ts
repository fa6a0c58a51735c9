/**
 * Whether two live controllers can be in one NVM subsystem. A name proves nothing: whoever copies the configuration of a
 * target to a second machine has two subsystems of one NQN, with namespaces of the same identifiers.
 *
 * - A controller ID is unique in its subsystem (Base 2.0, section 3.1): two live controllers of one ID are in two.
 * - The serial number is the subsystem's, not the controller's (SN in section 5.17.2.1): two that differ are of two. One
 *   that is blank proves nothing.
 * - The model number is not compared: an upgrade of the storage system may rename it, one controller after the other.
 */

/** What a controller says of itself and its subsystem. */
export interface SubsystemMember {
  cntlid: number;
  controller: { serial: string };
}

/** Why `fresh` is in another subsystem than `known`, which is reached over `portal`; null if nothing says so. */
export function subsystemDifference(known: SubsystemMember, fresh: SubsystemMember, portal: string): string | null {
  const conclusion = "these are two subsystems of one name";
  if (known.cntlid === fresh.cntlid) return `it has controller ${fresh.cntlid} as "${portal}" has: ${conclusion}`;
  const { serial } = fresh.controller;
  const knownSerial = known.controller.serial;
  if (serial === "" || knownSerial === "" || serial === knownSerial) return null;
  return `it has the serial number "${serial}" and "${portal}" has "${knownSerial}": ${conclusion}`;
}
