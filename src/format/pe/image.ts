import { FormatError } from "../format-error";

/** A section of a PE image, as its header describes it. */
export interface PeSection {
  name: string;
  virtualSize: number;
  virtualAddress: number;
  rawSize: number;
  rawOffset: number;
}

/** Where the parts of a 64-bit PE image are (Microsoft's "PE Format"). */
export interface PeLayout {
  /** Machine type: 0x8664 for x86-64, 0xaa64 for arm64. */
  machine: number;
  /** Start of the optional header. */
  optionalHeader: number;
  sectionTable: number;
  sections: PeSection[];
  sectionAlignment: number;
  fileAlignment: number;
  sizeOfHeaders: number;
  /** The entry of the data directory that tells where certificates are. */
  certificateEntry: number;
  certificateOffset: number;
  certificateSize: number;
}

const SECTION_HEADER = 40;
const MAX_SECTIONS = 96;
const PE32_PLUS = 0x20b;
const CERTIFICATE_DIRECTORY = 4;

/** @throws FormatError when it is not a 64-bit PE image, or its tables point outside it */
export function readPe(image: Uint8Array): PeLayout {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const fail = (): FormatError => new FormatError("pe", "this is not a 64-bit PE image");
  if (image.length < 64 || view.getUint16(0, true) !== 0x5a4d) throw fail();
  const start = view.getUint32(60, true);
  if (start + 24 > image.length || view.getUint32(start, false) !== 0x50450000) throw fail();
  const count = view.getUint16(start + 6, true);
  const optionalSize = view.getUint16(start + 20, true);
  const optionalHeader = start + 24;
  const sectionTable = optionalHeader + optionalSize;
  if (count > MAX_SECTIONS || optionalSize < 112 || sectionTable + count * SECTION_HEADER > image.length) throw fail();
  if (view.getUint16(optionalHeader, true) !== PE32_PLUS) throw fail();
  const directories = view.getUint32(optionalHeader + 108, true);
  if (directories <= CERTIFICATE_DIRECTORY || 112 + directories * 8 > optionalSize) {
    throw new FormatError("pe", "the image has no place for a signature");
  }
  const certificateEntry = optionalHeader + 112 + CERTIFICATE_DIRECTORY * 8;
  const sections = Array.from({ length: count }, (_, index): PeSection => {
    const at = sectionTable + index * SECTION_HEADER;
    const section = {
      name: Buffer.from(image.subarray(at, at + 8))
        .toString("latin1")
        .replace(/\0+$/, ""),
      virtualSize: view.getUint32(at + 8, true),
      virtualAddress: view.getUint32(at + 12, true),
      rawSize: view.getUint32(at + 16, true),
      rawOffset: view.getUint32(at + 20, true),
    };
    if (section.rawSize > 0 && section.rawOffset + section.rawSize > image.length) {
      throw new FormatError("pe", `section ${section.name} lies outside the image`);
    }
    return section;
  });
  return {
    machine: view.getUint16(start + 4, true),
    optionalHeader,
    sectionTable,
    sections,
    sectionAlignment: view.getUint32(optionalHeader + 32, true),
    fileAlignment: view.getUint32(optionalHeader + 36, true),
    sizeOfHeaders: view.getUint32(optionalHeader + 60, true),
    certificateEntry,
    certificateOffset: view.getUint32(certificateEntry, true),
    certificateSize: view.getUint32(certificateEntry + 4, true),
  };
}

/** Content of a section by its name, or `undefined`. */
export function peSection(image: Uint8Array, name: string): Uint8Array | undefined {
  const section = readPe(image).sections.find((candidate) => candidate.name === name);
  if (section === undefined) return undefined;
  return image.subarray(section.rawOffset, section.rawOffset + Math.min(section.rawSize, section.virtualSize));
}

/** Contents begin at multiples of this: at pages in memory, and in the file so that a medium of 2048-byte blocks can show them as files of their own. */
const ADDED_ALIGNMENT = 4096;
const READ_ONLY_DATA = 0x4000_0040;

/**
 * A copy of an image with further read-only sections, loaded behind the others in the order given. An earlier signature
 * is dropped.
 * @returns the image, and where each section's content begins in it
 * @throws FormatError when the image is malformed or has too many sections
 */
export function addPeSections(
  image: Uint8Array,
  added: readonly { name: string; content: Uint8Array }[],
): { image: Uint8Array; offsets: ReadonlyMap<string, number> } {
  const layout = readPe(image);
  if (layout.sections.length + added.length > MAX_SECTIONS) throw new FormatError("pe", "too many sections");
  if (layout.sectionAlignment < 512 || layout.fileAlignment < 1)
    throw new FormatError("pe", "the alignment is not valid");
  const tableEnd = layout.sectionTable + (layout.sections.length + added.length) * SECTION_HEADER;
  const firstAddress = Math.min(...layout.sections.map(({ virtualAddress }) => virtualAddress));
  const headers = aligned(Math.max(tableEnd, layout.sizeOfHeaders), layout.fileAlignment);
  // Where the section table grows into the first content, all contents move back.
  const firstRaw = Math.min(...layout.sections.filter(({ rawSize }) => rawSize > 0).map(({ rawOffset }) => rawOffset));
  const shift = Math.max(0, headers - firstRaw);
  if (firstRaw + shift > firstAddress) throw new FormatError("pe", "the headers have no room for further sections");
  const oldEnd = Math.max(...layout.sections.map(({ rawOffset, rawSize }) => rawOffset + rawSize));
  const offsets = new Map<string, number>();
  let raw = aligned(oldEnd + shift, ADDED_ALIGNMENT);
  let address = Math.max(
    ...layout.sections.map(
      ({ virtualAddress, virtualSize, rawSize }) => virtualAddress + Math.max(virtualSize, rawSize),
    ),
  );
  const placed = added.map(({ name, content }) => {
    if (Buffer.byteLength(name) > 8) throw new FormatError("pe", `the section name ${name} is too long`);
    address = aligned(address, Math.max(layout.sectionAlignment, ADDED_ALIGNMENT));
    const section = { name, content, rawOffset: raw, rawSize: aligned(content.length, ADDED_ALIGNMENT), address };
    offsets.set(name, raw);
    address += content.length;
    raw += section.rawSize;
    return section;
  });
  const [first] = placed;
  const last = placed.at(-1);
  const end = last === undefined ? oldEnd + shift : last.rawOffset + last.rawSize;
  const result = new Uint8Array(aligned(end, 8));
  result.set(image.subarray(0, layout.sectionTable + layout.sections.length * SECTION_HEADER));
  result.set(image.subarray(firstRaw, oldEnd), firstRaw + shift);
  const view = new DataView(result.buffer);
  for (const [index, section] of layout.sections.entries()) {
    if (section.rawSize === 0) continue;
    const at = layout.sectionTable + index * SECTION_HEADER;
    view.setUint32(at + 20, section.rawOffset + shift, true);
    // Gaps between sections are not signed alike by all firmware, so there are none.
    if (section.rawOffset + section.rawSize === oldEnd && first !== undefined) {
      view.setUint32(at + 16, first.rawOffset - section.rawOffset - shift, true);
    }
  }
  for (const [index, section] of placed.entries()) {
    const at = layout.sectionTable + (layout.sections.length + index) * SECTION_HEADER;
    result.fill(0, at, at + SECTION_HEADER);
    result.set(Buffer.from(section.name), at);
    view.setUint32(at + 8, section.content.length, true);
    view.setUint32(at + 12, section.address, true);
    view.setUint32(at + 16, section.rawSize, true);
    view.setUint32(at + 20, section.rawOffset, true);
    view.setUint32(at + 36, READ_ONLY_DATA, true);
    result.set(section.content, section.rawOffset);
  }
  const { optionalHeader } = layout;
  view.setUint16(optionalHeader - 18, layout.sections.length + added.length, true);
  // The symbol table is not carried over.
  view.setUint32(optionalHeader - 16, 0, true);
  view.setUint32(optionalHeader - 12, 0, true);
  view.setUint32(optionalHeader + 56, aligned(address, layout.sectionAlignment), true);
  view.setUint32(optionalHeader + 60, firstRaw + shift, true);
  view.setUint32(optionalHeader + 64, 0, true);
  view.setBigUint64(layout.certificateEntry, 0n, true);
  return { image: result, offsets };
}

function aligned(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
