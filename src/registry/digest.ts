/** Content digests (`sha256:…`, `sha512:…`). */
import { RegistryError } from "./registry-error.ts";

export type Digest = string;

const HEX_LENGTHS: Record<string, number> = { sha256: 64, sha512: 128 };

export function isDigest(text: string): boolean {
  const [algorithm = "", hex = "", ...rest] = text.split(":");
  return rest.length === 0 && hex.length === HEX_LENGTHS[algorithm] && /^[0-9a-f]+$/.test(hex);
}

/** Computes a digest piece by piece. */
export class Digester {
  readonly #algorithm: "sha256" | "sha512";
  readonly #hasher: Bun.CryptoHasher;

  /** @param like a digest whose algorithm to use; SHA-256 when left out */
  constructor(like: Digest = "sha256:") {
    this.#algorithm = like.startsWith("sha512:") ? "sha512" : "sha256";
    this.#hasher = new Bun.CryptoHasher(this.#algorithm);
  }

  update(bytes: Uint8Array): void {
    this.#hasher.update(bytes);
  }

  digest(): Digest {
    return `${this.#algorithm}:${this.#hasher.digest("hex")}`;
  }
}

export function digestOf(bytes: Uint8Array | string, like?: Digest): Digest {
  const digester = new Digester(like);
  digester.update(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  return digester.digest();
}

/** Throws RegistryError `invalid` when the bytes are not what the digest says. */
export function checkDigest(bytes: Uint8Array, digest: Digest, what: string): void {
  if (digestOf(bytes, digest) !== digest) {
    throw new RegistryError("invalid", `${what} verification failed for digest ${digest}`);
  }
}
