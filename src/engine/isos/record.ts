/** What the datastore says of a bootstrap ISO: `iso/records/NAME.json`, written last, so that a record means a whole file. */
import type { DatastorePath } from "../../vsphere/contract.ts";
import { invalid } from "../errors.ts";

export type CdromBus = "ide" | "sata";
export type IsoFirmware = "bios" | "efi";

/** What has to be known of an ISO to start a VM from it, and what an administrator wants to see. */
export interface IsoFacts {
  /** Of the whole file, hexadecimal. */
  sha256: string;
  sizeBytes: number;
  kernelVersion: string;
  tetherVersion: string;
  /** CD-ROM controllers that its kernel has drivers for. */
  cdromBuses: readonly CdromBus[];
  /** Firmware that it has a boot loader for. */
  firmware: readonly IsoFirmware[];
}

export interface IsoRecord extends IsoFacts {
  version: 1;
  name: string;
  /** Its file in the folder of ISOs; named after its content, so that VMs which use an earlier one keep that. */
  file: string;
  /** RFC 3339. */
  uploaded: string;
}

/** What a VM starts from. */
export interface BootMedium {
  /** Name of the ISO. */
  name: string;
  path: DatastorePath;
  cdromBus: CdromBus;
  firmware: IsoFirmware;
}

/** Name of the ISO that the endpoint brings along; also the runtime of containers that name none. */
export const BUILT_IN_ISO = "vch";
/** Label of a container that chooses its ISO, where a client knows no `--runtime`. */
export const ISO_LABEL = "vch.iso";
/** In a VM's extraConfig: the file of the ISO that it starts from. */
export const ISO_KEY = "vch.iso";

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** @throws EngineError when a name cannot be that of an ISO */
export function checkIsoName(name: string): string {
  if (!NAME.test(name) || name.includes(".."))
    throw invalid(
      `"${name}" is no name for a bootstrap ISO: use 1 to 63 lower-case letters, digits, dots, dashes and underscores`,
    );
  return name;
}

const DIGEST_CHARACTERS = 16;

export const isoFileName = (name: string, sha256: string): string =>
  `${name === BUILT_IN_ISO ? "bootstrap" : name}-${sha256.slice(0, DIGEST_CHARACTERS)}.iso`;

/** A record that is damaged, or that another version of vch wrote. */
export class IsoRecordError extends Error {
  override readonly name = "IsoRecordError";
}

/** @throws IsoRecordError when the text is no record of that name */
export function parseIsoRecord(text: string, name: string): IsoRecord {
  const record = parseJson(text) as Partial<IsoRecord> | null | undefined;
  const isWhole =
    record !== undefined &&
    record !== null &&
    typeof record === "object" &&
    record.version === 1 &&
    record.name === name &&
    typeof record.file === "string" &&
    /^[a-z0-9][a-z0-9._-]*\.iso$/.test(record.file) &&
    [record.sha256, record.kernelVersion, record.tetherVersion, record.uploaded].every(
      (value) => typeof value === "string",
    ) &&
    typeof record.sizeBytes === "number" &&
    Array.isArray(record.cdromBuses) &&
    Array.isArray(record.firmware);
  if (!isWhole) throw new IsoRecordError(`the record of bootstrap ISO ${name} is damaged or of another version of vch`);
  return record as IsoRecord;
}

/** `undefined` for what is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
