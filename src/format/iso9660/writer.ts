import { FormatError } from "../format-error";
import { encodeDirectory, encodePathTable, type PlannedDirectory, planDirectories } from "./directories";
import { ContinuationArea, planRecord } from "./directory-record";
import { type BootImage, encodeBootCatalog, withBootInformation } from "./el-torito";
import { bothEndian16, bothEndian32, longTime, paddedText } from "./fields";
import { ISO_BLOCK, type IsoDirectory, type IsoFile, type IsoNode } from "./tree";

export interface IsoOptions {
  /** Up to 32 characters A–Z, 0–9 and `_`. */
  volumeId: string;
  /** Up to 128 characters that identify the medium to whoever reads its descriptor. */
  volumeSetId?: string;
  /** The one time that everything on the medium carries, in seconds since the epoch, so that equal inputs give equal bytes. */
  time: number;
  root: IsoDirectory;
  /** Boot images, files of the tree; the first is the default. */
  boot?: BootImage[];
  /** Files whose boot information table is to be filled in. They are held in memory while they are patched. */
  bootInformation?: IsoFile[];
  /** For the first 32 KiB, which ISO 9660 leaves to others; asked for when the image is written. */
  systemArea?: () => Uint8Array;
}

/** An image ready to be written: its exact size, and its bytes, made while they are read. */
export interface IsoImage {
  size: number;
  /** First byte of a file of the tree. */
  offsetOf(file: IsoFile): number;
  stream(): AsyncGenerator<Uint8Array, void, undefined>;
}

const DESCRIPTORS_BLOCK = 16;
/** One extent holds less than 4 GiB; larger files would need several. */
const MAX_FILE_SIZE = 0xffff_ffff;
const MAX_BOOT_IMAGE_SIZE = 64 * 1024 ** 2;

/**
 * Plans an ISO 9660 image with Rock Ridge names and attributes, and El Torito boot images.
 * Files are laid out in the order in which the tree lists them, so what is read together should stand together.
 */
export function planIso(options: IsoOptions): IsoImage {
  if (!/^[A-Z0-9_]{1,32}$/.test(options.volumeId)) throw new FormatError("iso9660", "the volume id is not valid");
  const area = new ContinuationArea();
  const directories = planDirectories(options.root, options.time, area);
  const pathTableSize = encodePathTable(directories, true).length;
  const catalogs = options.boot?.length ? 1 : 0;

  let next = DESCRIPTORS_BLOCK + 2 + catalogs;
  const take = (bytes: number): number => {
    const block = next;
    next += Math.ceil(bytes / ISO_BLOCK);
    return block;
  };
  const catalogBlock = take(catalogs * ISO_BLOCK);
  const littleTable = take(pathTableSize);
  const bigTable = take(pathTableSize);
  for (const directory of directories) directory.block = take(directory.size);
  const continuationBase = take(area.blocks * ISO_BLOCK);
  const { files, blocks } = placeFiles(options.root, take);
  const size = next * ISO_BLOCK;
  const blockOf = (node: IsoNode): number => blocks.get(node) ?? 0;

  async function* metadata(): AsyncGenerator<Uint8Array> {
    yield systemArea(options.systemArea?.());
    yield primaryDescriptor(options, directories, { size: pathTableSize, littleTable, bigTable }, next);
    if (catalogs > 0) yield bootRecord(catalogBlock);
    yield descriptor(255);
    if (options.boot?.length) {
      yield encodeBootCatalog(options.boot.map((image) => ({ image, block: placed(blocks, image.file) })));
    }
    yield padded(encodePathTable(directories, true));
    yield padded(encodePathTable(directories, false));
    // Encoding the directories fills the continuation area, which follows them.
    for (const directory of directories) yield encodeDirectory(directory, blockOf, continuationBase);
    yield area.content();
  }

  async function* stream(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* metadata();
    for (const file of files) {
      if (options.bootInformation?.includes(file)) yield padded(await patched(file, placed(blocks, file)));
      else yield* content(file);
    }
  }

  return { size, offsetOf: (file) => placed(blocks, file) * ISO_BLOCK, stream };
}

function systemArea(content: Uint8Array = new Uint8Array(0)): Uint8Array {
  const area = new Uint8Array(DESCRIPTORS_BLOCK * ISO_BLOCK);
  if (content.length > area.length) throw new FormatError("iso9660", "the system area is larger than 32 KiB");
  area.set(content);
  return area;
}

function placed(blocks: ReadonlyMap<IsoNode, number>, file: IsoFile): number {
  const block = blocks.get(file);
  if (block === undefined) throw new FormatError("iso9660", "a boot image is not a file of the tree");
  return block;
}

/** Gives each file its place, depth first in the tree's order. A file that the tree lists twice is stored once. */
function placeFiles(root: IsoDirectory, take: (bytes: number) => number) {
  const files: IsoFile[] = [];
  const blocks = new Map<IsoNode, number>();
  const parts: IsoFile[] = [];
  const visit = (directory: IsoDirectory): void => {
    for (const [name, node] of directory.entries) {
      if (node.type === "directory") visit(node);
      if (node.type === "file" && node.partOf !== undefined) parts.push(node);
      if (node.type !== "file" || node.partOf !== undefined || blocks.has(node)) continue;
      if (node.content.size > MAX_FILE_SIZE) throw new FormatError("iso9660", `"${name}" is larger than 4 GiB`);
      blocks.set(node, take(node.content.size));
      files.push(node);
    }
  };
  visit(root);
  for (const part of parts) {
    const { file, offset } = part.partOf ?? { file: part, offset: 0 };
    if (offset % ISO_BLOCK !== 0 || offset + part.content.size > file.content.size) {
      throw new FormatError("iso9660", "a file does not lie inside the file that it is part of");
    }
    blocks.set(part, placed(blocks, file) + offset / ISO_BLOCK);
  }
  return { files, blocks };
}

async function* content({ content: { size, stream } }: IsoFile): AsyncGenerator<Uint8Array> {
  let written = 0;
  for await (const chunk of stream()) {
    written += chunk.length;
    if (written > size) break;
    yield chunk;
  }
  if (written !== size) throw new FormatError("iso9660", "a file changed its size while it was being read");
  if (size % ISO_BLOCK > 0) yield new Uint8Array(ISO_BLOCK - (size % ISO_BLOCK));
}

async function patched(file: IsoFile, block: number): Promise<Uint8Array> {
  if (file.content.size > MAX_BOOT_IMAGE_SIZE) throw new FormatError("iso9660", "the boot image is too large");
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.content.stream()) chunks.push(chunk.slice());
  return withBootInformation(new Uint8Array(Buffer.concat(chunks)), block);
}

function padded(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([bytes, new Uint8Array((ISO_BLOCK - (bytes.length % ISO_BLOCK)) % ISO_BLOCK)]);
}

function descriptor(type: number): Uint8Array {
  const block = new Uint8Array(ISO_BLOCK);
  block[0] = type;
  block.set(Buffer.from("CD001\x01"), 1);
  return block;
}

function bootRecord(catalogBlock: number): Uint8Array {
  const block = descriptor(0);
  block.set(Buffer.from("EL TORITO SPECIFICATION"), 7);
  new DataView(block.buffer).setUint32(71, catalogBlock, true);
  return block;
}

/** The primary volume descriptor (ECMA-119 §8.4). */
function primaryDescriptor(
  { volumeId, volumeSetId = "", time }: IsoOptions,
  directories: readonly PlannedDirectory[],
  table: { size: number; littleTable: number; bigTable: number },
  blocks: number,
): Uint8Array {
  const [root] = directories;
  if (root === undefined) throw new FormatError("iso9660", "there is no root directory");
  const block = descriptor(1);
  const view = new DataView(block.buffer);
  block.set(paddedText("LINUX", 32), 8);
  block.set(paddedText(volumeId, 32), 40);
  block.set(bothEndian32(blocks), 80);
  block.set(bothEndian16(1), 120);
  block.set(bothEndian16(1), 124);
  block.set(bothEndian16(ISO_BLOCK), 128);
  block.set(bothEndian32(table.size), 132);
  view.setUint32(140, table.littleTable, true);
  view.setUint32(148, table.bigTable, false);
  block.set(planRecord(Uint8Array.of(0), true, time, [], new ContinuationArea()).encode(root, 0), 156);
  for (const [at, length] of [
    [190, 128],
    [318, 128],
    [446, 128],
    [574, 128],
    [702, 37],
    [739, 37],
    [776, 37],
  ] as const) {
    block.set(paddedText("", length), at);
  }
  block.set(paddedText(volumeSetId, 128), 190);
  block.set(longTime(time), 813);
  block.set(longTime(time), 830);
  // No expiry and no effective date: zeros.
  block.set(
    paddedText("", 16).map(() => 0x30),
    847,
  );
  block.set(longTime(time), 864);
  block[881] = 1;
  return block;
}
