import { type Key, readKeys } from "openpgp";
import { FormatError } from "../format-error";

/** OpenPGP certificates that something may be signed by. */
export type PublicKeys = Key[];

const MAX_KEY_FILE = 1024 ** 2;

/** Reads public keys, ASCII-armoured as distributions give them or binary. @throws FormatError */
export async function readPublicKeys(file: Uint8Array): Promise<PublicKeys> {
  if (file.length > MAX_KEY_FILE) throw new FormatError("openpgp", "the key file is larger than 1 MiB");
  const text = Buffer.from(file).toString("latin1");
  try {
    // A file may hold several armoured keys one after the other.
    const blocks = text.match(/-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g);
    const keys = await Promise.all(
      blocks === null
        ? [readKeys({ binaryKeys: file })]
        : blocks.map((armoredKeys) => readKeys({ armoredKeys: `${armoredKeys}\n` })),
    );
    return keys.flat();
  } catch (error) {
    throw new FormatError(
      "openpgp",
      `this is not a public key: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
