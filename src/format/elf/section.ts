import { FormatError } from "../format-error";

/**
 * The content of a named section of a 64-bit little-endian ELF file, or `undefined` when it has none of that name.
 * @throws FormatError when the file is not such an ELF file, or a table points outside it
 */
export function elfSection(file: Uint8Array, name: string): Uint8Array | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 64 || view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new FormatError("elf", "this is not a 64-bit little-endian ELF file");
  }
  const table = Number(view.getBigUint64(40, true));
  const entrySize = view.getUint16(58, true);
  const count = view.getUint16(60, true);
  const namesIndex = view.getUint16(62, true);
  if (entrySize < 64 || namesIndex >= count || table + count * entrySize > file.length) {
    throw new FormatError("elf", "the section table is malformed");
  }
  const section = (index: number) => {
    const at = table + index * entrySize;
    const offset = Number(view.getBigUint64(at + 24, true));
    const size = Number(view.getBigUint64(at + 32, true));
    return { nameOffset: view.getUint32(at, true), type: view.getUint32(at + 4, true), offset, size };
  };
  const content = ({ offset, size }: { offset: number; size: number }): Uint8Array => {
    if (offset + size > file.length) throw new FormatError("elf", "a section lies outside the file");
    return file.subarray(offset, offset + size);
  };
  const names = content(section(namesIndex));
  const wanted = Buffer.from(`${name}\0`);
  for (let index = 1; index < count; index++) {
    const candidate = section(index);
    const found = names.subarray(candidate.nameOffset, candidate.nameOffset + wanted.length);
    if (wanted.equals(found)) return content(candidate);
  }
  return undefined;
}
