import { SaxesParser } from "saxes";
import { FormatError } from "../format-error";
import type { RpmVersion } from "./version";

/** A file of a repository's metadata that `repomd.xml` names. */
export interface RepositoryFile {
  type: string;
  /** Relative to the repository's base. */
  location: string;
  checksum: { algorithm: string; value: string };
  /** Size as stored. */
  size: number | undefined;
}

/** Something that a package offers or needs. */
export interface RpmCapability {
  name: string;
  comparison?: "EQ" | "LT" | "LE" | "GT" | "GE";
  version?: RpmVersion;
}

/** A package as the primary metadata lists it. */
export interface PrimaryPackage extends Required<RpmVersion> {
  name: string;
  architecture: string;
  location: string;
  checksum: { algorithm: string; value: string };
  /** Bytes of the package file. */
  size: number;
  provides: RpmCapability[];
  requires: RpmCapability[];
  /** Those files that the metadata lists: programs and configuration. */
  files: string[];
}

const MAX_REPOMD = 1024 ** 2;
const MAX_TEXT = 64 * 1024;
const MAX_DEPTH = 32;
/** Characters given to the parser at a time. */
const MAX_PIECE = 64 * 1024;
const MAX_PACKAGES = 200_000;
/** Capabilities and files of all packages; the largest distributions list about a million. */
const MAX_CAPABILITIES = 4_000_000;
/** Characters without an element or a text, such as one long attribute. */
const MAX_SILENCE = 1024 ** 2;

/** The files of a repository's metadata. @throws FormatError */
export function readRepomd(xml: Uint8Array): RepositoryFile[] {
  if (xml.length > MAX_REPOMD) throw new FormatError("repomd", "repomd.xml is larger than 1 MiB");
  const files: RepositoryFile[] = [];
  let current: Partial<RepositoryFile> & { checksum?: { algorithm: string; value: string } } = {};
  const document = new ElementReader("repomd", {
    open(path, attributes) {
      if (path === "repomd/data") current = { type: attributes.type ?? "" };
      if (path === "repomd/data/location") current.location = attributes.href ?? "";
    },
    close(path, text, attributes) {
      if (path === "repomd/data/checksum") current.checksum = { algorithm: attributes.type ?? "", value: text };
      if (path === "repomd/data/size") current.size = Number(text);
      if (path !== "repomd/data") return;
      const { type, location, checksum, size } = current;
      if (type === undefined || location === undefined || checksum === undefined) {
        throw new FormatError("repomd", "an entry has no location or no checksum");
      }
      files.push({ type, location, checksum, size });
    },
  });
  document.write(Buffer.from(xml).toString("utf8"));
  document.end();
  return files;
}

/**
 * The packages of `primary.xml`, read as a stream.
 * @param architectures packages for others are left out
 * @throws FormatError when it is malformed or lists too much
 */
export async function readPrimary(
  source: AsyncIterable<Uint8Array>,
  architectures: readonly string[],
): Promise<PrimaryPackage[]> {
  const packages: PrimaryPackage[] = [];
  let current = emptyPackage();
  let capabilities = 0;
  const document = new ElementReader("primary", {
    open(path, attributes) {
      const [, , inside, section, entry] = path.split("/");
      if (path === "metadata/package") current = emptyPackage();
      if (inside === "version" && section === undefined) Object.assign(current, versionOf(attributes));
      if (inside === "location" && section === undefined) current.location = attributes.href ?? "";
      if (inside === "size" && section === undefined) current.size = Number(attributes.package ?? Number.NaN);
      if (entry !== "rpm:entry") return;
      if (++capabilities > MAX_CAPABILITIES)
        throw new FormatError("primary", "the packages list too many capabilities");
      if (section === "rpm:provides") current.provides.push(capability(attributes));
      if (section === "rpm:requires") current.requires.push(capability(attributes));
    },
    close(path, text, attributes) {
      if (path === "metadata/package/name") current.name = text;
      if (path === "metadata/package/arch") current.architecture = text;
      if (path === "metadata/package/checksum") current.checksum = { algorithm: attributes.type ?? "", value: text };
      if (path === "metadata/package/format/file") {
        if (++capabilities > MAX_CAPABILITIES) throw new FormatError("primary", "the packages list too many files");
        current.files.push(text);
      }
      if (path !== "metadata/package" || !architectures.includes(current.architecture)) return;
      if (current.name === "" || current.location === "" || current.checksum.value === "" || current.version === "") {
        throw new FormatError(
          "primary",
          `the package ${JSON.stringify(current.name)} lacks a name, version, location or checksum`,
        );
      }
      packages.push(current);
      if (packages.length > MAX_PACKAGES) throw new FormatError("primary", `more than ${MAX_PACKAGES} packages`);
    },
  });
  const decoder = new TextDecoder("utf-8");
  for await (const chunk of source) document.write(decoder.decode(chunk, { stream: true }));
  document.write(decoder.decode());
  document.end();
  return packages;
}

function emptyPackage(): PrimaryPackage {
  return {
    name: "",
    architecture: "",
    epoch: 0,
    version: "",
    release: "",
    location: "",
    checksum: { algorithm: "", value: "" },
    size: Number.NaN,
    provides: [],
    requires: [],
    files: [],
  };
}

function versionOf(attributes: Record<string, string>): Required<RpmVersion> {
  return { epoch: Number(attributes.epoch ?? 0) || 0, version: attributes.ver ?? "", release: attributes.rel ?? "" };
}

const comparisons = new Set(["EQ", "LT", "LE", "GT", "GE"]);

function capability(attributes: Record<string, string>): RpmCapability {
  const { name = "", flags, ver, rel } = attributes;
  if (flags === undefined || ver === undefined || !comparisons.has(flags)) return { name };
  const comparison = flags as NonNullable<RpmCapability["comparison"]>;
  return {
    name,
    comparison,
    version: { epoch: Number(attributes.epoch ?? 0) || 0, version: ver, ...(rel !== undefined && { release: rel }) },
  };
}

interface ElementHandlers {
  open(path: string, attributes: Record<string, string>): void;
  close(path: string, text: string, attributes: Record<string, string>): void;
}

/** Tells elements by their path from the root, with bounds on depth and text. */
class ElementReader {
  readonly #parser = new SaxesParser({ xmlns: false });
  readonly #path: { name: string; attributes: Record<string, string> }[] = [];
  readonly #format: string;
  #text = "";
  #silence = 0;

  constructor(format: string, handlers: ElementHandlers) {
    this.#format = format;
    this.#parser.on("error", (error) => {
      throw new FormatError(format, `the XML is malformed: ${error.message.split("\n")[0]}`);
    });
    this.#parser.on("doctype", () => {
      throw new FormatError(format, "the XML declares a document type");
    });
    this.#parser.on("opentag", ({ name, attributes }) => {
      this.#silence = 0;
      if (this.#path.length >= MAX_DEPTH) throw new FormatError(format, "the XML is nested too deeply");
      this.#path.push({ name, attributes });
      this.#text = "";
      handlers.open(this.#name(), attributes);
    });
    this.#parser.on("text", (text) => {
      this.#text += text;
      if (this.#text.length > MAX_TEXT) throw new FormatError(format, "a text is too long");
    });
    this.#parser.on("closetag", () => {
      this.#silence = 0;
      handlers.close(this.#name(), this.#text.trim(), this.#path.at(-1)?.attributes ?? {});
      this.#path.pop();
      this.#text = "";
    });
  }

  write(text: string): void {
    for (let at = 0; at < text.length; at += MAX_PIECE) {
      const piece = text.slice(at, at + MAX_PIECE);
      this.#silence += piece.length;
      this.#parser.write(piece);
      if (this.#silence > MAX_SILENCE) throw new FormatError(this.#format, "an element of the XML is too long");
    }
  }

  end(): void {
    if (this.#path.length > 0) throw new FormatError(this.#format, "the XML ends early");
    this.#parser.close();
  }

  #name(): string {
    return this.#path.map(({ name }) => name).join("/");
  }
}
