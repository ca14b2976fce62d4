import { FormatError } from "../src/format/format-error";
import { type IsoEntry, type IsoSource, readIso, readIsoFile } from "../src/format/iso9660";
import { isSquashfs, SquashfsReader } from "../src/format/squashfs";
import { MANIFEST_FORMAT, MANIFEST_PATH, type Manifest } from "./manifest";

/** A bootstrap ISO opened for reading: its manifest, and its files wherever they lie. */
export interface OpenedIso {
  manifest: Manifest;
  /** SHA-256 of the manifest's text: the medium's id. */
  mediumId: string;
  /** What the medium says of itself in its volume descriptor. */
  statedId: string;
  /** Files of ISO 9660, by path. */
  medium: ReadonlyMap<string, IsoEntry>;
  readMedium(entry: IsoEntry): AsyncIterable<Uint8Array>;
  /** Every file of the root file system with its content. */
  rootFiles(): AsyncGenerator<{ path: string; content(): AsyncIterable<Uint8Array> }>;
}

const MAX_MANIFEST = 16 * 1024 ** 2;
const VOLUME_SET_ID = 16 * 2048 + 190;

/** @throws FormatError when it is no bootstrap ISO, or is damaged */
export async function openIso(source: IsoSource): Promise<OpenedIso> {
  const medium = new Map<string, IsoEntry>();
  for await (const entry of readIso(source)) if (entry.type === "file") medium.set(entry.path, entry);
  const entry = medium.get(MANIFEST_PATH);
  if (entry === undefined)
    throw new FormatError("iso", `this is not a bootstrap ISO of vch: it has no ${MANIFEST_PATH}`);
  if (entry.size > MAX_MANIFEST) throw new FormatError("iso", "the manifest is too large");
  const text = Buffer.concat(await Array.fromAsync(readIsoFile(source, entry)));
  const manifest = parseManifest(text.toString("utf8"));
  const id = await source.slice(VOLUME_SET_ID, VOLUME_SET_ID + 64).bytes();
  return {
    manifest,
    mediumId: new Bun.CryptoHasher("sha256").update(text).digest("hex"),
    statedId: Buffer.from(id).toString("latin1"),
    medium,
    readMedium: (file) => readIsoFile(source, file),
    async *rootFiles() {
      if (manifest.root.fileSystem === "iso9660") {
        for (const [path, file] of medium) yield { path, content: () => readIsoFile(source, file) };
        return;
      }
      if (!(await isSquashfs(source)))
        throw new FormatError("iso", "the medium has no squashfs, which its manifest names");
      const reader = await SquashfsReader.open(source);
      for await (const file of reader.entries()) {
        if (file.type === "file") yield { path: file.path, content: () => reader.content(file) };
      }
    },
  };
}

function parseManifest(text: string): Manifest {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new FormatError("iso", "the manifest is not JSON");
  }
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(parsed) || parsed.format !== MANIFEST_FORMAT)
    throw new FormatError("iso", "it was built by another version of vch; build it again");
  for (const key of ["kernel", "boot", "root", "tether", "modules", "files"]) {
    if (!isObject(parsed[key])) throw new FormatError("iso", `the manifest has no ${key}`);
  }
  if (!Array.isArray(parsed.cdrom)) throw new FormatError("iso", "the manifest does not say what it boots from");
  if (!Array.isArray(parsed.packages)) throw new FormatError("iso", "the manifest has no packages");
  return parsed as unknown as Manifest;
}
