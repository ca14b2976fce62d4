import { FormatError } from "../format-error";

const PT_INTERP = 3;
const PROGRAM_HEADER = 56;
const MAX_PATH = 4096;

/**
 * The program that starts a dynamically linked one, such as `/lib64/ld-linux-x86-64.so.2`.
 * @param start first bytes of the file, with its program headers and the name; 4096 are enough for what linkers make
 * @returns `undefined` for a static program and for what is no ELF file (a script)
 * @throws FormatError when the headers point outside of what is given
 */
export function elfInterpreter(start: Uint8Array): string | undefined {
  const isElf64 = [0x7f, 0x45, 0x4c, 0x46, 2, 1].every((byte, index) => start[index] === byte);
  if (!isElf64) return undefined;
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (start.length < 64) throw new FormatError("elf", "the file is shorter than its header");
  const offset = view.getBigUint64(32, true);
  const size = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (size !== PROGRAM_HEADER || offset + BigInt(count * size) > BigInt(start.length))
    throw new FormatError("elf", "the program headers are malformed");
  for (let index = 0; index < count; index++) {
    const at = Number(offset) + index * size;
    if (view.getUint32(at, true) !== PT_INTERP) continue;
    const [from, length] = [view.getBigUint64(at + 8, true), view.getBigUint64(at + 32, true)];
    if (length > BigInt(MAX_PATH) || from + length > BigInt(start.length))
      throw new FormatError("elf", "the interpreter's name lies outside the file's start");
    const name = start.subarray(Number(from), Number(from + length));
    const end = name.indexOf(0);
    return Buffer.from(end < 0 ? name : name.subarray(0, end)).toString("utf8");
  }
  return undefined;
}
