import { readAr } from "../ar/reader";
import { FormatError } from "../format-error";
import { compressionOf, type Decompress, decompress } from "../stream/decompress";
import { readTar, type TarEntry } from "../tar";
import { type ControlFields, parseControlParagraph } from "./control";

/** Plain size of a package's files that we accept: a kernel with all its modules takes about 400 MB. */
const MAX_DATA_SIZE = 4 * 1024 ** 3;
const MAX_CONTROL_SIZE = 16 * 1024 ** 2;
const MAX_CONTROL_FILE = 1024 ** 2;

/** What a package's control file says about it. */
export interface DebControl {
  package: string;
  version: string;
  architecture: string;
  /** All fields, by their name in lower case. */
  fields: ControlFields;
}

/**
 * Reads a Debian binary package as a stream: first its control file, then its files one after the other.
 *
 * @param onControl is told about the package before the first file
 * @param inflate decompresses the files
 * @returns the files; a file's content can be read only until the next is asked for
 * @throws FormatError when the package is malformed or too large
 */
export async function* readDeb(
  source: AsyncIterable<Uint8Array>,
  onControl: (control: DebControl) => void,
  inflate: Decompress = decompress,
): AsyncGenerator<TarEntry, void, undefined> {
  let control: DebControl | undefined;
  for await (const member of readAr(source)) {
    const compression = compressionOf(member.name);
    if (/^control\.tar(\.(bz2|gz|lzma|xz|zst))?$/.test(member.name)) {
      control = await readControl(readTar(decompress(member.body, compression, MAX_CONTROL_SIZE)));
      onControl(control);
    } else if (/^data\.tar(\.(bz2|gz|lzma|xz|zst))?$/.test(member.name)) {
      if (control === undefined) throw new FormatError("deb", "the package has files before its control data");
      yield* readTar(inflate(member.body, compression, MAX_DATA_SIZE));
      return;
    } else if (member.name.startsWith("data.tar")) {
      throw new FormatError("deb", `the compression of ${member.name} is not supported; use bz2, gz, lzma, xz or zst`);
    }
  }
  throw new FormatError("deb", "the package has no data.tar");
}

async function readControl(entries: AsyncIterable<TarEntry>): Promise<DebControl> {
  let control: DebControl | undefined;
  for await (const { header, body } of entries) {
    if (header.name.replace(/^\.\//, "") !== "control" || header.size > MAX_CONTROL_FILE) continue;
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk.slice());
    control = parseControl(Buffer.concat(chunks).toString("utf8"));
  }
  if (control === undefined) throw new FormatError("deb", "the package has no control file");
  return control;
}

function parseControl(text: string): DebControl {
  const fields = parseControlParagraph(text);
  const required = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined || value === "") throw new FormatError("deb", `the control file has no field ${name}`);
    return value;
  };
  return { package: required("package"), version: required("version"), architecture: required("architecture"), fields };
}
