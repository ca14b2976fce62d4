import { parseControlParagraph } from "../../src/format/deb/control";
import type { PublicKeys } from "../../src/format/openpgp/keys";
import { readClearSigned } from "../../src/format/openpgp/signed-text";
import { fetchSmall } from "../repository-file";
import type { AptConfiguration } from "./apt-configuration";
import type { AptSource } from "./apt-sources";
import { rename } from "node:fs/promises";

/** What an archive says about one of its distributions, signed. */
export interface Release {
  /** Checksum and size of its lists, by their path below the distribution. */
  files: ReadonlyMap<string, { sha256: string; size: number }>;
  /** Whether lists are also kept under the name of their checksum. */
  byHash: boolean;
  /** Whether packages are taken out of it only when nothing else has them (Debian's backports). */
  notAutomatic: boolean;
}

const MAX_RELEASE = 16 * 1024 ** 2;

/** Path of a distribution below the archive. */
export const distributionPath = ({ suite }: AptSource): string => (suite.endsWith("/") ? suite : `dists/${suite}/`);

/**
 * Reads `InRelease` of a distribution and checks its signature, its name and its time.
 * @param kept where the file is kept between builds
 * @param maxAge milliseconds for which the kept one will do
 * @throws Error that says why it cannot be trusted
 */
export async function readRelease(
  source: AptSource,
  configuration: AptConfiguration,
  kept: string,
  maxAge: number,
): Promise<Release> {
  const keys = await configuration.keysFor(source);
  if (keys.length === 0) throw new Error("there is no key that it could be signed by");
  const stored = Bun.file(kept);
  const isStored = await stored.exists();
  if (isStored && Date.now() - stored.lastModified < maxAge) {
    // One that does not fit (any more) is fetched anew.
    const release = await check(await stored.bytes(), source, keys, configuration).catch(() => undefined);
    if (release !== undefined) return release;
  }
  let text: Uint8Array;
  try {
    const { proxyFor } = configuration;
    text = await fetchSmall(source.uri, `${distributionPath(source)}InRelease`, MAX_RELEASE, { proxyFor });
  } catch (error) {
    // Without a network, yesterday's lists are better than none.
    if (!isStored) throw error;
    return check(await stored.bytes(), source, keys, configuration);
  }
  const release = await check(text, source, keys, configuration);
  const partial = `${kept}.${process.pid}.partial`;
  await Bun.write(partial, text);
  await rename(partial, kept);
  return release;
}

async function check(
  message: Uint8Array,
  { suite }: AptSource,
  keys: PublicKeys,
  { checksValidity }: AptConfiguration,
): Promise<Release> {
  const { text } = await readClearSigned(message, keys);
  const fields = parseControlParagraph(text);
  const names = [fields.get("suite"), fields.get("codename")];
  if (!suite.endsWith("/") && !names.includes(suite))
    throw new Error(`its lists are those of ${names.filter(Boolean).join(" and ")}`);
  const validUntil = Date.parse(fields.get("valid-until") ?? "");
  if (checksValidity && validUntil < Date.now())
    throw new Error(`its lists were valid until ${fields.get("valid-until")} only`);
  const files = new Map<string, { sha256: string; size: number }>();
  for (const line of (fields.get("sha256") ?? "").split("\n")) {
    const [, sha256, size, path] = /^\s*([0-9a-f]{64})\s+(\d+)\s+(\S+)$/.exec(line) ?? [];
    if (sha256 !== undefined && path !== undefined) files.set(path, { sha256, size: Number(size) });
  }
  if (files.size === 0) throw new Error("its lists have no SHA-256 checksums");
  return {
    files,
    byHash: fields.get("acquire-by-hash") === "yes",
    notAutomatic: fields.get("notautomatic") === "yes",
  };
}
