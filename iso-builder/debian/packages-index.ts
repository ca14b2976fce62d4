import { controlParagraphs, parseControlParagraph } from "../../src/format/deb/control";
import { type DebDependency, parseDependencies } from "../../src/format/deb/dependency";
import { compareDebVersions } from "../../src/format/deb/version";
import { FormatError } from "../../src/format/format-error";

/** A package that an archive offers. */
export interface DebianPackage {
  name: string;
  version: string;
  architecture: string;
  /** Path below `uri`. */
  filename: string;
  size: number;
  sha256: string;
  /** Of the archive. */
  uri: string;
  /** Each must be there, any of its alternatives being enough. */
  depends: DebDependency[][];
}

interface Listed {
  /** Its paragraph, read when it is asked for: lists have tens of thousands. */
  text: string;
  uri: string;
  notAutomatic: boolean;
}

/** The packages of all lists, by their names. */
export class PackagesIndex {
  readonly #listed = new Map<string, Listed[]>();
  /** Packages that offer a name other than their own, and in which version. */
  readonly #providers = new Map<string, { name: string; version: string | undefined }[]>();
  readonly #architectures: ReadonlySet<string>;

  /** @param architectures packages for others are left out */
  constructor(architectures: ReadonlySet<string>) {
    this.#architectures = architectures;
  }

  /** Takes in a list (`Packages`). @throws FormatError when it is malformed */
  async add(list: AsyncIterable<Uint8Array>, uri: string, notAutomatic: boolean): Promise<void> {
    for await (const text of controlParagraphs(list)) {
      const name = /^Package: *(\S+)$/m.exec(text)?.[1];
      if (name === undefined) continue;
      push(this.#listed, name, { text, uri, notAutomatic });
      const provides = /^Provides: *(.*)$/m.exec(text)?.[1];
      if (provides === undefined) continue;
      for (const [offered] of parseDependencies(provides))
        if (offered !== undefined) push(this.#providers, offered.name, { name, version: offered.version });
    }
  }

  /** The newest package of a name, or of another name that offers it. */
  newest(name: string): DebianPackage | undefined {
    return this.#candidates(name)[0] ?? this.providersOf({ name })[0];
  }

  /** The newest package that is what is needed, or offers it. */
  fitting(need: DebDependency, fits: (version: string | undefined) => boolean): DebianPackage | undefined {
    return this.#candidates(need.name).find(({ version }) => fits(version)) ?? this.providersOf(need, fits)[0];
  }

  /** The newest packages, by name, that offer another name. */
  providersOf({ name }: DebDependency, fits: (version: string | undefined) => boolean = () => true): DebianPackage[] {
    const names = new Set(
      (this.#providers.get(name) ?? []).filter(({ version }) => fits(version)).map((one) => one.name),
    );
    return [...names].sort().flatMap((one) => this.#candidates(one)[0] ?? []);
  }

  #candidates(name: string): DebianPackage[] {
    const listed = (this.#listed.get(name) ?? []).map((one) => ({ ...packageOf(one), rank: one.notAutomatic ? 1 : 0 }));
    return listed
      .filter(({ architecture }) => this.#architectures.has(architecture))
      .sort((a, b) => a.rank - b.rank || compareDebVersions(b.version, a.version))
      .map(({ rank: _, ...found }) => found);
  }
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function packageOf({ text, uri }: Listed): DebianPackage {
  const fields = parseControlParagraph(text);
  const field = (name: string, form: RegExp): string => {
    const value = fields.get(name) ?? "";
    if (!form.test(value)) throw new FormatError("deb", `a package of the list has no valid field ${name}`);
    return value;
  };
  const dependencies = [fields.get("pre-depends"), fields.get("depends")].filter((one) => one !== undefined);
  return {
    name: field("package", /^[a-z0-9][a-z0-9+.-]+$/),
    version: field("version", /^[A-Za-z0-9.+~:-]+$/),
    architecture: field("architecture", /^[a-z0-9-]+$/),
    filename: field("filename", /^[\x21-\x7e]+$/),
    size: Number(field("size", /^[0-9]+$/)),
    sha256: field("sha256", /^[0-9a-f]{64}$/),
    uri,
    depends: dependencies.flatMap(parseDependencies),
  };
}
