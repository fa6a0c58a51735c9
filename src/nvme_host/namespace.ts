/** A namespace as umpath uses it: what it can do, how large its commands may be, and whether two are the same one. */

import { Dsm, NLB_BLOCKS_MAX } from "../protocol/nvme.ts";
import { Oncs } from "../protocol/nvme_identify.ts";
import { MPS_SHIFT_BASE } from "../protocol/nvme_property.ts";
import type {
  ControllerIdentity,
  IndependentNamespace,
  NamespaceDescriptors,
  NamespaceIdentity,
  NvmControllerLimits,
} from "./identify.ts";

/** What one command to a namespace may ask for, and what the block layer should know. Bytes are multiples of the block size. */
export interface NamespaceLimits {
  blockSize: number;
  /** Size in blocks. */
  blocks: number;
  /** Largest Read or Write, bytes: MDTS and what NLB can say. */
  maxTransferBytes: number;
  /** Largest Write Zeroes, blocks; 0 if there is none. */
  maxWriteZeroesBlocks: number;
  /** Largest deallocation with one range, blocks; 0 if there is none. */
  maxDiscardBlocks: number;
  /** Ranges in one Dataset Management; 0 if there is none. */
  maxDiscardRanges: number;
  /** Granularity of deallocation, bytes. */
  discardGranularity: number;
  /** Bytes that are written without read-modify-write and atomically over power fail; a power of two. */
  physicalBlockSize: number;
  /** Smallest write without a penalty, bytes. */
  minIoBytes: number;
  /** Preferred I/O size, bytes; 0 if not told. */
  optimalIoBytes: number;
  /** I/O that crosses a multiple of this is slower, bytes; 0 if not told. */
  boundaryBytes: number;
  readOnly: boolean;
  volatileCache: boolean;
}

/** What a namespace is called by the world. Hexadecimal, "" if not told. */
export interface NamespaceName {
  subsystemNqn: string;
  nsid: number;
  uuid: string;
  nguid: string;
  eui64: string;
  /** False if the controller does not tell all: an identifier that is "" may be there all the same. */
  isTold: boolean;
}

/** A namespace that can be compared with another. */
export interface ComparableNamespace extends NamespaceName {
  blockSize: number;
}

export interface LimitsInput {
  controller: ControllerIdentity;
  nvm: NvmControllerLimits;
  namespace: NamespaceIdentity;
  independent: IndependentNamespace;
  /** CAP.MPSMIN. */
  mpsmin: number;
}

/** Computes the limits of a namespace behind one controller, as the Linux host does where the specification leaves room. */
export function namespaceLimits(input: LimitsInput): NamespaceLimits {
  const { controller, namespace } = input;
  const { blockSize, blocks } = namespace;
  const maxTransferBytes = transferBytes(input);
  const preferredWriteBytes = (namespace.preferredWriteBlocks || 1) * blockSize;
  const optimalBlocks = namespace.optimalWriteBlocks || namespace.optimalBoundaryBlocks;
  return {
    blockSize,
    blocks,
    maxTransferBytes,
    maxWriteZeroesBlocks: writeZeroesBlocks(input, maxTransferBytes),
    ...discardLimits(input),
    discardGranularity: (namespace.preferredDeallocateBlocks || 1) * blockSize,
    physicalBlockSize: physicalBlockSize(input, preferredWriteBytes),
    minIoBytes: preferredWriteBytes,
    optimalIoBytes: optimalBlocks * blockSize,
    boundaryBytes: namespace.optimalBoundaryBlocks * blockSize,
    readOnly: namespace.writeProtected,
    volatileCache: controller.volatileCache && !input.independent.cacheless,
  };
}

/** MDTS (Base 2.0, section 5.17.2.1), at least one block: a controller that takes less takes nothing. */
function transferBytes({ controller, namespace, mpsmin }: LimitsInput): number {
  const nlbBytes = NLB_BLOCKS_MAX * namespace.blockSize;
  return controller.mdts === 0 ? nlbBytes : Math.min(nlbBytes, pagesBytes(controller.mdts, mpsmin));
}

/**
 * WZSL. MDTS does not apply to Write Zeroes, which transfers nothing; but controllers that do not tell their limits are
 * older than WZSL, and have only met hosts that keep to the size of a transfer, as Linux does.
 */
function writeZeroesBlocks(input: LimitsInput, maxTransferBytes: number): number {
  const { controller, nvm, namespace } = input;
  if ((controller.oncs & Oncs.WRITE_ZEROES) === 0 && nvm.wzsl === 0) return 0;
  const untoldBytes = nvm.isTold ? Infinity : maxTransferBytes;
  const bytes = nvm.wzsl === 0 ? untoldBytes : pagesBytes(nvm.wzsl, input.mpsmin);
  return Math.min(NLB_BLOCKS_MAX, Math.floor(bytes / namespace.blockSize));
}

/** ONCS says that deallocation works without limits; without it, all three limits say that it works within them. */
function discardLimits({ controller, nvm }: LimitsInput): { maxDiscardBlocks: number; maxDiscardRanges: number } {
  const limited = nvm.dmrl !== 0 && nvm.dmrsl !== 0 && nvm.dmsl !== 0;
  if ((controller.oncs & Oncs.DATASET_MANAGEMENT) === 0 && !limited) {
    return { maxDiscardBlocks: 0, maxDiscardRanges: 0 };
  }
  return {
    maxDiscardBlocks: Math.min(nvm.dmrsl || 0xffffffff, nvm.dmsl || 0xffffffff, 0xffffffff),
    maxDiscardRanges: Math.min(nvm.dmrl || Dsm.RANGES_MAX, Dsm.RANGES_MAX),
  };
}

/** Filesystems take a physical block to be atomic over power fail: NPWG, but not more than NAWUPF or AWUPF. */
function physicalBlockSize({ controller, namespace }: LimitsInput, preferredWriteBytes: number): number {
  const { blockSize } = namespace;
  const atomicBlocks = namespace.atomicPowerFailBlocks || controller.atomicPowerFailBlocks;
  const atomicBytes = namespace.atomicBoundaryAligned ? atomicBlocks * blockSize : blockSize;
  const bytes = Math.min(preferredWriteBytes, atomicBytes);
  return Number.isInteger(Math.log2(bytes)) ? bytes : blockSize;
}

function pagesBytes(log2: number, mpsmin: number): number {
  return 2 ** (log2 + MPS_SHIFT_BASE + mpsmin);
}

/** The identifiers of a namespace from both structures that tell them; the descriptors come first. */
export function namespaceName(
  subsystemNqn: string,
  identity: NamespaceIdentity,
  descriptors: NamespaceDescriptors,
): NamespaceName {
  return {
    subsystemNqn,
    nsid: identity.nsid,
    uuid: descriptors.uuid,
    nguid: descriptors.nguid || identity.nguid,
    eui64: descriptors.eui64 || identity.eui64,
    isTold: descriptors.isTold,
  };
}

/** What keeps two namespaces from being taken for one. */
export interface IdentityDifference {
  words: string;
  /** They are two. If not, nothing shows that they are one. */
  isProved: boolean;
}

/**
 * Why two namespaces are not taken for one; null if they are. They are one if subsystem and a globally unique identifier
 * agree, none contradicts, and the format is equal; the size may change. An NSID proves nothing, and neither does an
 * identifier that one of the two does not tell because the controller refused to.
 */
export function identityDifference(known: ComparableNamespace, other: ComparableNamespace): IdentityDifference | null {
  const proved = (words: string) => ({ words, isProved: true });
  if (known.subsystemNqn !== other.subsystemNqn) {
    return proved(`it is in the subsystem "${other.subsystemNqn}", not in "${known.subsystemNqn}"`);
  }
  const isUntold = (of: ComparableNamespace, id: string) => id === "" && !of.isTold;
  let proofs = 0;
  for (const [field, words] of [["uuid", "UUID"], ["nguid", "NGUID"], ["eui64", "EUI-64"]] as const) {
    if (isUntold(known, known[field]) || isUntold(other, other[field])) continue;
    if (known[field] !== other[field]) {
      return proved(`its ${words} is ${other[field] || "missing"}, not ${known[field] || "missing"}`);
    }
    if (known[field] !== "") proofs++;
  }
  if (known.blockSize !== other.blockSize) {
    return proved(`its blocks have ${other.blockSize} bytes, not ${known.blockSize}`);
  }
  if (proofs > 0) return null;
  return { words: "it has no UUID, NGUID or EUI-64 that could prove it", isProved: known.isTold && other.isTold };
}
