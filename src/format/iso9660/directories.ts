import { FormatError } from "../format-error";
import { type ContinuationArea, type PlannedRecord, planRecord } from "./directory-record";
import { isoIdentifiers } from "./names";
import { alternateName, attributes, extensionReference, sharingProtocol, symbolicLink } from "./rock-ridge";
import { ISO_BLOCK, type IsoDirectory, type IsoNode } from "./tree";

/** A directory with the records that it will consist of. Its block is set once everything's length is known. */
export interface PlannedDirectory {
  node: IsoDirectory;
  parent: PlannedDirectory | undefined;
  /** Identifier in the path table; one zero byte for the root. */
  identifier: Uint8Array;
  /** Number in the path table, from 1. */
  number: number;
  size: number;
  block: number;
  self: PlannedRecord;
  up: PlannedRecord;
  children: { node: IsoNode; identifier: Uint8Array; record: PlannedRecord; directory?: PlannedDirectory }[];
}

const SELF = Uint8Array.of(0);
const PARENT = Uint8Array.of(1);
/** Directories in one tree; the path table numbers them with 16 bits. */
const MAX_DIRECTORIES = 65_535;

/** All directories in the order of the path table: by level, then by parent, then by identifier. */
export function planDirectories(root: IsoDirectory, seconds: number, area: ContinuationArea): PlannedDirectory[] {
  const planned: PlannedDirectory[] = [];
  let level: { node: IsoDirectory; parent: PlannedDirectory | undefined; identifier: Uint8Array }[] = [
    { node: root, parent: undefined, identifier: SELF },
  ];
  while (level.length > 0) {
    const below: typeof level = [];
    for (const { node, parent, identifier } of level) {
      const directory = planDirectory(node, parent, identifier, planned.length + 1, seconds, area);
      planned.push(directory);
      if (planned.length > MAX_DIRECTORIES) throw new FormatError("iso9660", "too many directories");
      const up = parent?.children.find((child) => child.node === node);
      if (up !== undefined) up.directory = directory;
      for (const child of directory.children) {
        if (child.node.type === "directory") {
          below.push({ node: child.node, parent: directory, identifier: child.identifier });
        }
      }
    }
    level = below;
  }
  return planned;
}

function planDirectory(
  node: IsoDirectory,
  parent: PlannedDirectory | undefined,
  identifier: Uint8Array,
  number: number,
  seconds: number,
  area: ContinuationArea,
): PlannedDirectory {
  const isRoot = parent === undefined;
  const own = attributes(node, linkCount(node), seconds);
  const above = parent?.node ?? node;
  const self = planRecord(SELF, true, seconds, isRoot ? [sharingProtocol(), ...own, extensionReference()] : own, area);
  const up = planRecord(PARENT, true, seconds, attributes(above, linkCount(above), seconds), area);
  const identifiers = isoIdentifiers(
    [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, child]) => [name, child.type === "directory"]),
  );
  const children = [...node.entries]
    .map(([name, child]) => ({ name, node: child, identifier: Buffer.from(identifiers.get(name) ?? "", "latin1") }))
    .sort((a, b) => Buffer.compare(a.identifier, b.identifier))
    .map((child) => ({ ...child, record: planChild(child.name, child.node, child.identifier, seconds, area) }));
  const size = layOut([self, up, ...children.map(({ record }) => record)]);
  return { node, parent, identifier, number, size, block: 0, self, up, children };
}

function planChild(name: string, node: IsoNode, identifier: Uint8Array, seconds: number, area: ContinuationArea) {
  const links = node.type === "directory" ? linkCount(node) : 1;
  const entries = [...attributes(node, links, seconds), ...alternateName(name)];
  if (node.type === "symlink") entries.push(...symbolicLink(node.target));
  return planRecord(identifier, node.type === "directory", seconds, entries, area);
}

function linkCount(node: IsoDirectory): number {
  return 2 + [...node.entries.values()].filter(({ type }) => type === "directory").length;
}

/** Length of a directory in bytes: a record never crosses the end of a block. */
function layOut(records: readonly PlannedRecord[]): number {
  let position = 0;
  for (const { length } of records) {
    const left = ISO_BLOCK - (position % ISO_BLOCK);
    position += (left < length ? left : 0) + length;
  }
  return Math.ceil(position / ISO_BLOCK) * ISO_BLOCK;
}

/** The blocks of one directory. @param blockOf where a file's content begins */
export function encodeDirectory(
  directory: PlannedDirectory,
  blockOf: (node: IsoNode) => number,
  continuationBase: number,
): Uint8Array {
  const content = new Uint8Array(directory.size);
  let position = 0;
  const append = (record: Uint8Array): void => {
    const left = ISO_BLOCK - (position % ISO_BLOCK);
    if (left < record.length) position += left;
    content.set(record, position);
    position += record.length;
  };
  append(directory.self.encode(directory, continuationBase));
  append(directory.up.encode(directory.parent ?? directory, continuationBase));
  for (const { node, record, directory: below } of directory.children) {
    const size = node.type === "file" ? node.content.size : 0;
    append(record.encode(below ?? { block: blockOf(node), size }, continuationBase));
  }
  return content;
}

/** The path table, which lists all directories, in one of the two byte orders. */
export function encodePathTable(directories: readonly PlannedDirectory[], littleEndian: boolean): Uint8Array {
  return Buffer.concat(
    directories.map(({ identifier, block, parent }) => {
      const entry = new Uint8Array(8 + identifier.length + (identifier.length % 2));
      const view = new DataView(entry.buffer);
      entry[0] = identifier.length;
      view.setUint32(2, block, littleEndian);
      view.setUint16(6, parent?.number ?? 1, littleEndian);
      entry.set(identifier, 8);
      return entry;
    }),
  );
}
