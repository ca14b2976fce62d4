import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type PublicKeys, readPublicKeys } from "../../src/format/openpgp/keys";
import { type AptOptions, parseAptOptions } from "./apt-options";
import { type AptSource, parseOneLineSources, parseSources } from "./apt-sources";

/** Where Debian machines keep the configuration of their package manager. */
export const APT_FOLDER = "/etc/apt";

/** What a Debian machine's package manager is configured with, read without running it. */
export class AptConfiguration {
  private constructor(
    readonly sources: readonly AptSource[],
    readonly options: AptOptions,
    private readonly folder: string,
  ) {}

  /** @param folder such as `/etc/apt`; one that does not exist has no sources */
  static async read(folder = APT_FOLDER): Promise<AptConfiguration> {
    const options = new Map<string, string>();
    for (const text of await texts(folder, "apt.conf.d", /^[\w.-]+$/)) parseAptOptions(text, options);
    parseAptOptions((await textOf(join(folder, "apt.conf"))) ?? "", options);
    const sources = [
      ...parseOneLineSources((await textOf(join(folder, "sources.list"))) ?? ""),
      ...(await texts(folder, "sources.list.d", /\.list$/)).flatMap(parseOneLineSources),
      ...(await texts(folder, "sources.list.d", /\.sources$/)).flatMap(parseSources),
    ];
    return new AptConfiguration(sources, options, folder);
  }

  /** Whether lists that are past their time are refused. */
  get checksValidity(): boolean {
    return !/^(false|no|0|off)$/i.test(this.options.get("acquire::check-valid-until") ?? "");
  }

  /** The proxy for a URL by `Acquire::http::Proxy`, as apt has it; the environment's, which Bun follows, otherwise. */
  readonly proxyFor = (url: URL): string | undefined => {
    const scheme = url.protocol.slice(0, -1);
    const ofHost = this.options.get(`acquire::${scheme}::proxy::${url.hostname}`);
    const proxy = ofHost ?? this.options.get(`acquire::${scheme}::proxy`) ?? this.options.get("acquire::http::proxy");
    return proxy === undefined || proxy === "" || /^(direct|false)$/i.test(proxy) ? undefined : proxy;
  };

  /**
   * The keys that a source may be signed by.
   * @throws Error when it names a key that is not there
   */
  async keysFor({ signedBy }: AptSource): Promise<PublicKeys> {
    if (signedBy === undefined) return this.#ownKeys();
    const keys: PublicKeys = [];
    for (const one of signedBy) {
      if (one.includes("-----BEGIN")) {
        keys.push(...(await readPublicKeys(Buffer.from(one))));
      } else if (one.startsWith("/")) {
        const file = Bun.file(one);
        if (!(await file.exists())) throw new Error(`its key file ${one} does not exist`);
        keys.push(...(await readPublicKeys(await file.bytes())));
      } else {
        const fingerprint = one.replace(/!$/, "").toLowerCase();
        const own = await this.#ownKeys();
        keys.push(...own.filter((key) => key.getKeys().some((part) => part.getFingerprint() === fingerprint)));
      }
    }
    return keys;
  }

  /** Keys for all sources that name none. A file that is no key file is left out, as by apt. */
  async #ownKeys(): Promise<PublicKeys> {
    const names = await readdir(join(this.folder, "trusted.gpg.d")).catch(() => []);
    const files = names.filter((name) => /\.(gpg|asc)$/.test(name)).map((name) => join("trusted.gpg.d", name));
    const keys: PublicKeys = [];
    for (const name of ["trusted.gpg", ...files.sort()]) {
      const file = Bun.file(join(this.folder, name));
      if (await file.exists()) keys.push(...(await readPublicKeys(await file.bytes()).catch(() => [])));
    }
    return keys;
  }
}

async function textOf(path: string): Promise<string | undefined> {
  const file = Bun.file(path);
  return (await file.exists()) ? file.text() : undefined;
}

async function texts(folder: string, inside: string, named: RegExp): Promise<string[]> {
  const names = await readdir(join(folder, inside)).catch(() => []);
  const found = await Promise.all(
    names
      .filter((name) => named.test(name))
      .sort()
      .map((name) => textOf(join(folder, inside, name))),
  );
  return found.filter((text) => text !== undefined);
}
