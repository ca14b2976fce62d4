/** extraConfig and guestinfo: keys, limits, and which values last. */
import { TypedValue } from "../../vsphere/vim25/index.ts";
import { invalidArgument } from "../fault.ts";
import type { DataObject } from "../model/data.ts";
import { isDeviceEntry } from "./device/vmx-devices.ts";

export const GUESTINFO_PREFIX = "guestinfo.";
const KEY_LIMIT = 256;
/** Bytes of one value. */
const VALUE_LIMIT = 64 * 1024;
/** Bytes of all guestinfo keys and values of a VM: ESXi's default of `tools.setInfo.sizeLimit`. */
const GUESTINFO_LIMIT = 1024 * 1024;
const RESERVED =
  /^(lab\.|config\.version$|virtualHW\.|displayName$|guestOS$|annotation$|numvcpus$|memSize$|uuid\.bios$|vc\.uuid$|firmware$|checkpoint\.)/;

export const isGuestInfo = (key: string): boolean => key.toLowerCase().startsWith(GUESTINFO_PREFIX);

/** The entries of a spec, checked. An empty value deletes its key. */
export function extraConfigChanges(options: readonly DataObject[]): [string, string][] {
  return options.map((option) => {
    const key = String(option.key);
    const value = option.value instanceof TypedValue ? option.value.value : option.value;
    const text = value === undefined || value === null ? "" : String(value);
    if (key === "" || key.length > KEY_LIMIT || /["\x00-\x1f]/.test(key)) {
      throw invalidArgument("configSpec.extraConfig", `'${key.slice(0, 64)}' is not a valid key.`);
    }
    if (RESERVED.test(key) || isDeviceEntry(key)) {
      throw invalidArgument("configSpec.extraConfig", `'${key}' is set through its own field of the configuration.`);
    }
    if (Buffer.byteLength(text) > VALUE_LIMIT) {
      throw invalidArgument("configSpec.extraConfig", `The value of '${key}' is longer than ${VALUE_LIMIT} bytes.`);
    }
    return [key, text];
  });
}

export function mergeExtraConfig(
  before: ReadonlyMap<string, string>,
  options: readonly DataObject[],
): ReadonlyMap<string, string> {
  if (options.length === 0) return before;
  return mergeEntries(before, extraConfigChanges(options));
}

export function mergeEntries(
  before: ReadonlyMap<string, string>,
  changes: readonly [string, string][],
): Map<string, string> {
  const after = new Map(before);
  for (const [key, value] of changes) {
    if (value === "") after.delete(key);
    else after.set(key, value);
  }
  requireGuestInfoFits(after);
  return after;
}

function requireGuestInfoFits(entries: ReadonlyMap<string, string>): void {
  let total = 0;
  for (const [key, value] of entries) if (isGuestInfo(key)) total += Buffer.byteLength(key) + Buffer.byteLength(value);
  if (total > GUESTINFO_LIMIT) {
    throw invalidArgument(
      "configSpec.extraConfig",
      `All guestinfo values together are longer than ${GUESTINFO_LIMIT} bytes.`,
    );
  }
}
