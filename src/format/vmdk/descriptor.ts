/**
 * The text descriptor of a VMDK ("Virtual Disk Format 5.0"): content identifiers, the link to the parent, the extents and
 * the disk database. It stands alone (`name.vmdk` beside `name-flat.vmdk`) or inside a sparse extent.
 */

/** CID that says "no parent". */
export const NO_PARENT_CID = 0xffff_ffff;
/** Longest descriptor that is read, in bytes. */
export const DESCRIPTOR_LIMIT = 64 * 1024;
/** Most extents of one disk (a 2 TB disk in 2 GB pieces has 1024). */
const EXTENT_LIMIT = 1024;
/** Most disk database entries. */
const DATABASE_LIMIT = 256;

export type ExtentType = "FLAT" | "VMFS" | "SPARSE" | "VMFSSPARSE" | "SESPARSE" | "ZERO";

export interface VmdkExtent {
  access: "RW" | "RDONLY" | "NOACCESS";
  sectors: number;
  type: ExtentType;
  /** File beside the descriptor; undefined for ZERO. */
  file?: string;
  /** First sector inside a FLAT file. */
  offset: number;
}

export interface VmdkDescriptor {
  cid: number;
  /** NO_PARENT_CID for a base disk. */
  parentCid: number;
  /** monolithicSparse, vmfs, streamOptimized … */
  createType: string;
  /** Path of the parent, relative to this descriptor's directory or absolute. */
  parentFileNameHint?: string;
  extents: VmdkExtent[];
  /** `ddb.*` entries, values without quotes. */
  database: ReadonlyMap<string, string>;
}

/** A file that is no VMDK, is damaged, or is of a kind that cannot be read here. */
export class VmdkError extends Error {
  override readonly name = "VmdkError";
}

const extentLine = /^(RW|RDONLY|NOACCESS)\s+(\d{1,15})\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+(\d{1,15}))?)?$/;
const entryLine = /^([A-Za-z][A-Za-z0-9_.]*)\s*=\s*(?:"([^"]*)"|([^"]*))$/;
const extentTypes = new Set<string>(["FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE", "ZERO"]);

function isExtentType(text: string): text is ExtentType {
  return extentTypes.has(text);
}

function parseExtent(line: string, match: RegExpExecArray): VmdkExtent {
  const [, access, sectors, type = "", file, offset] = match;
  if (!isExtentType(type)) throw new VmdkError(`extent type ${type} is not supported`);
  if ((file === undefined) !== (type === "ZERO"))
    throw new VmdkError(`extent line ${JSON.stringify(line)} is malformed`);
  return {
    access: access === "RW" ? "RW" : access === "RDONLY" ? "RDONLY" : "NOACCESS",
    sectors: Number(sectors),
    type,
    ...(file === undefined ? {} : { file }),
    offset: Number(offset ?? 0),
  };
}

function parseContentId(name: string, text: string | undefined): number {
  if (text === undefined || !/^[0-9a-fA-F]{1,8}$/.test(text))
    throw new VmdkError(`the descriptor has no valid ${name}`);
  return Number.parseInt(text, 16);
}

/** Reads a descriptor; whatever follows a NUL is padding. Throws VmdkError. */
export function parseDescriptor(text: string): VmdkDescriptor {
  if (text.length > DESCRIPTOR_LIMIT) throw new VmdkError(`the descriptor is longer than ${DESCRIPTOR_LIMIT} bytes`);
  const content = text.split("\0", 1)[0] ?? "";
  if (!/^# Disk DescriptorFile\s*$/im.test(content)) throw new VmdkError("there is no VMDK descriptor");
  const entries = new Map<string, string>();
  const database = new Map<string, string>();
  const extents: VmdkExtent[] = [];
  for (const raw of content.split(/\r?\n/)) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const extent = extentLine.exec(line);
    if (extent !== null) {
      extents.push(parseExtent(line, extent));
      if (extents.length > EXTENT_LIMIT) throw new VmdkError(`the descriptor names more than ${EXTENT_LIMIT} extents`);
      continue;
    }
    const entry = entryLine.exec(line);
    const key = entry?.[1];
    if (entry === null || key === undefined)
      throw new VmdkError(`descriptor line ${JSON.stringify(line.slice(0, 80))} is malformed`);
    (key.startsWith("ddb.") ? database : entries).set(key, (entry[2] ?? entry[3] ?? "").trim());
    if (entries.size + database.size > DATABASE_LIMIT)
      throw new VmdkError(`the descriptor has more than ${DATABASE_LIMIT} entries`);
  }
  const createType = entries.get("createType");
  if (createType === undefined) throw new VmdkError("the descriptor has no createType");
  if (extents.length === 0) throw new VmdkError("the descriptor names no extent");
  const parentFileNameHint = entries.get("parentFileNameHint");
  return {
    cid: parseContentId("CID", entries.get("CID")),
    parentCid: parseContentId("parentCID", entries.get("parentCID")),
    createType,
    ...(parentFileNameHint === undefined ? {} : { parentFileNameHint }),
    extents,
    database,
  };
}

/** The descriptor as text. Throws VmdkError for names that the format cannot carry. */
export function printDescriptor(descriptor: VmdkDescriptor): string {
  const hexadecimal = (value: number) => value.toString(16).padStart(8, "0");
  const quoted = (value: string) => {
    if (/["\r\n\0]/.test(value))
      throw new VmdkError(`${JSON.stringify(value)} cannot be written into a VMDK descriptor`);
    return `"${value}"`;
  };
  const lines = [
    "# Disk DescriptorFile",
    "version=1",
    `CID=${hexadecimal(descriptor.cid)}`,
    `parentCID=${hexadecimal(descriptor.parentCid)}`,
    `createType=${quoted(descriptor.createType)}`,
  ];
  if (descriptor.parentFileNameHint !== undefined) {
    lines.push(`parentFileNameHint=${quoted(descriptor.parentFileNameHint)}`);
  }
  lines.push("", "# Extent description");
  for (const extent of descriptor.extents) {
    const file = extent.file === undefined ? "" : ` ${quoted(extent.file)}`;
    const offset = extent.type === "FLAT" || extent.type === "VMFS" ? ` ${extent.offset}` : "";
    lines.push(`${extent.access} ${extent.sectors} ${extent.type}${file}${offset}`);
  }
  lines.push("", "# The Disk Data Base", "#DDB", "");
  for (const [key, value] of descriptor.database) lines.push(`${key} = ${quoted(value)}`);
  return `${lines.join("\n")}\n`;
}
