/** Queries of the datastore browser: which files they match and what they tell about them. */
import { basename } from "node:path";
import { SECTOR } from "../../format/vmdk/sparse-extent.ts";
import { notSupported } from "../fault.ts";
import { type DataObject, data } from "../model/data.ts";
import { diskParts, findDiskDescription } from "./disk-description.ts";

export interface ListedFile {
  name: string;
  directory: boolean;
  size: number;
  modified: Date;
  /** The file of this machine. */
  file: string;
}

/** Query types by the ends of names that they stand for. */
const KINDS: readonly { query: string; info: string; ending: RegExp }[] = [
  { query: "VmConfigFileQuery", info: "VmConfigFileInfo", ending: /\.vmx$/i },
  { query: "TemplateConfigFileQuery", info: "TemplateConfigFileInfo", ending: /\.vmtx$/i },
  { query: "VmDiskFileQuery", info: "VmDiskFileInfo", ending: /\.vmdk$/i },
  { query: "VmLogFileQuery", info: "VmLogFileInfo", ending: /\.log$/i },
  { query: "VmNvramFileQuery", info: "VmNvramFileInfo", ending: /\.nvram$/i },
  { query: "VmSnapshotFileQuery", info: "VmSnapshotFileInfo", ending: /\.(vmsn|vmsd)$/i },
  { query: "IsoImageFileQuery", info: "IsoImageFileInfo", ending: /\.iso$/i },
  { query: "FloppyImageFileQuery", info: "FloppyImageFileInfo", ending: /\.flp$/i },
];
const FOLDER = { query: "FolderFileQuery", info: "FolderFileInfo" };
/** Data extents beside a descriptor: files, but no disks of their own. */
const EXTENT = /-(flat|delta|sesparse|ctk|s\d{3})\.vmdk$/i;

const CONTROLLERS = new Map([
  ["lsilogic", "VirtualLsiLogicController"],
  ["buslogic", "VirtualBusLogicController"],
  ["ide", "VirtualIDEController"],
]);

export const QUERY_TYPES = [FOLDER.query, ...KINDS.map(({ query }) => query)];

type Flags = Readonly<Record<string, boolean | undefined>>;
interface Filter {
  diskType?: string[];
  matchHardwareVersion?: number[];
  controllerType?: string[];
  thin?: boolean;
  encrypted?: boolean;
  matchConfigVersion?: number[];
}

function kindOf({ name, directory }: ListedFile): { query: string; info: string } | undefined {
  if (directory) return FOLDER;
  if (EXTENT.test(name)) return undefined;
  return KINDS.find(({ ending }) => ending.test(name));
}

/**
 * The FileInfo of a file, or undefined when no query wants it. Without queries every file is wanted.
 * @param details FileQueryFlags
 */
export async function describeFile(
  file: ListedFile,
  queries: readonly DataObject[],
  details: DataObject | undefined,
): Promise<DataObject | undefined> {
  const kind = kindOf(file);
  const fields: Record<string, unknown> = { path: file.name };
  if (details?.fileSize) fields.fileSize = file.size;
  if (details?.modification) fields.modification = file.modified;
  if (details?.fileOwner) fields.owner = "root";
  if (queries.length === 0) return data(details?.fileType && kind ? kind.info : "FileInfo", fields);
  for (const query of queries) {
    if (query._type === "FileQuery") return data(details?.fileType && kind ? kind.info : "FileInfo", fields);
    if (!kind || query._type !== kind.query) continue;
    const special = await specialFields(file, query);
    if (special) return data(kind.info, { ...fields, ...special });
  }
  return undefined;
}

async function specialFields(file: ListedFile, query: DataObject): Promise<Record<string, unknown> | undefined> {
  const filter = query.filter as Filter | undefined;
  const flags = (query.details ?? {}) as Flags;
  if (query._type === "VmDiskFileQuery") return diskFields(file, filter, flags);
  if (query._type === "VmConfigFileQuery" || query._type === "TemplateConfigFileQuery") {
    return configurationFields(filter, flags);
  }
  return {};
}

async function diskFields(file: ListedFile, filter: Filter = {}, flags: Flags) {
  const description = await findDiskDescription(file.file);
  // Named like a disk, but none.
  if (!description) return undefined;
  const { descriptor, embedded } = description;
  const version = Number(descriptor.database.get("ddb.virtualHWVersion"));
  const flat = descriptor.extents.some(({ type }) => type === "FLAT" || type === "VMFS");
  const all = {
    diskType: flat ? "VirtualDiskFlatVer2BackingInfo" : "VirtualDiskSparseVer2BackingInfo",
    capacityKb: Math.floor((descriptor.extents.reduce((sum, { sectors }) => sum + sectors, 0) * SECTOR) / 1024),
    hardwareVersion: Number.isSafeInteger(version) ? version : undefined,
    controllerType: CONTROLLERS.get(descriptor.database.get("ddb.adapterType") ?? ""),
    diskExtents: embedded ? [file.name] : (await diskParts(file.file)).slice(0, -1).map((part) => basename(part)),
    thin: !flat || descriptor.database.get("ddb.thinProvisioned") === "1",
  };
  const accepted =
    accepts(filter.diskType, all.diskType) &&
    accepts(filter.matchHardwareVersion, all.hardwareVersion) &&
    accepts(filter.controllerType, all.controllerType) &&
    (filter.thin === undefined || filter.thin === all.thin) &&
    filter.encrypted !== true;
  return accepted ? Object.fromEntries(Object.entries(all).filter(([name]) => flags[name])) : undefined;
}

/** Every configuration that the lab writes has version 8 of the format, and none is encrypted. */
const CONFIGURATION_VERSION = 8;

function configurationFields(filter: Filter = {}, flags: Flags): Record<string, unknown> | undefined {
  if (!accepts(filter.matchConfigVersion, CONFIGURATION_VERSION) || filter.encrypted === true) return undefined;
  return flags.configVersion ? { configVersion: CONFIGURATION_VERSION } : {};
}

const accepts = <T>(wanted: readonly T[] | undefined, value: T | undefined): boolean =>
  !wanted?.length || (value !== undefined && wanted.includes(value));

/** NotSupported for query types that the browser does not know. */
export function checkQueries(queries: readonly DataObject[]): void {
  for (const { _type } of queries) {
    if (_type !== "FileQuery" && !QUERY_TYPES.includes(_type)) throw notSupported(`searching with a ${_type}.`);
  }
}
