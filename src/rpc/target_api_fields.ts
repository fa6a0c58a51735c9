/** What each method of a target's control socket takes: every field with its type and range. */
import { FAULT_RULES_MAX } from "../base/limits.ts";
import { hostAddressFault } from "../settings/addresses.ts";
import { type Check, choice, flag, list, record, text, textThat, whole } from "./fields.ts";
import { NSID_RANGE, PORT_RANGE } from "./ranges.ts";
import { ANA_NAMES } from "./ana_names.ts";
import type { TargetApi } from "./target_api.ts";

/** Longer than any fault can be written. */
const FAULT_LENGTH_MAX = 1024;

const ana = choice(ANA_NAMES);
const traddr = textThat(hostAddressFault);
const trsvcid = whole(PORT_RANGE);
const nothing = record<Record<string, never>>({});

/** The parameters of each method. */
export const TARGET_FIELDS: { readonly [M in keyof TargetApi]: Check } = Object.freeze({
  show: nothing,
  ana: record<TargetApi["ana"]["params"]>({ traddr, trsvcid, ana }),
  resize: record<TargetApi["resize"]["params"]>({
    nsid: whole(NSID_RANGE),
    sizeBytes: whole({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    shrink: flag,
  }),
  // Port 0 is a free one.
  "listener-add": record<TargetApi["listener-add"]["params"]>({
    traddr,
    trsvcid: whole({ min: 0, max: PORT_RANGE.max }),
    ana,
  }),
  "listener-remove": record<TargetApi["listener-remove"]["params"]>({ traddr, trsvcid }),
  faults: nothing,
  "set-faults": record<TargetApi["set-faults"]["params"]>({
    faults: list(text({ min: 1, max: FAULT_LENGTH_MAX }), { max: FAULT_RULES_MAX }),
    seed: whole({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  }),
  stop: nothing,
});
