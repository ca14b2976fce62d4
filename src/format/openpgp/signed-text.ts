import {
  type CleartextMessage,
  createMessage,
  type Message,
  readCleartextMessage,
  readSignature,
  type Signature,
  verify,
} from "openpgp";
import { FormatError } from "../format-error";
import type { PublicKeys } from "./keys";

/** The largest `InRelease` files of distributions take about 400 kB. */
const MAX_SIGNED = 16 * 1024 ** 2;

/**
 * The text of a message in the cleartext signature framework (RFC 9580, 7), such as Debian's `InRelease`. Only what the
 * signature covers is given back, not what stands around it.
 * @returns the text, and the fingerprint of the key that signed it
 * @throws FormatError when none of the keys has signed it
 */
export async function readClearSigned(
  message: Uint8Array,
  keys: PublicKeys,
): Promise<{ text: string; signedBy: string }> {
  const cleartextMessage = checkedText(message);
  const read = await reading(() => readCleartextMessage({ cleartextMessage }));
  const signedBy = await signerOf(read, keys);
  return { text: read.getText(), signedBy };
}

/**
 * Checks a detached, ASCII-armoured signature, such as `repomd.xml.asc`.
 * @returns the fingerprint of the key that signed it
 * @throws FormatError when none of the keys has signed it
 */
export async function verifyDetached(signed: Uint8Array, signature: Uint8Array, keys: PublicKeys): Promise<string> {
  const armoredSignature = checkedText(signature);
  const read = await reading(() => readSignature({ armoredSignature }));
  return signerOf(await createMessage({ binary: signed }), keys, read);
}

function checkedText(bytes: Uint8Array): string {
  if (bytes.length > MAX_SIGNED) throw new FormatError("openpgp", "the signed text is larger than 16 MiB");
  return Buffer.from(bytes).toString("utf8");
}

async function reading<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw new FormatError("openpgp", `this is not a signed text: ${messageOf(error)}`);
  }
}

async function signerOf(
  message: CleartextMessage | Message<Uint8Array>,
  keys: PublicKeys,
  signature?: Signature,
): Promise<string> {
  const problems: string[] = [];
  try {
    const { signatures } = await verify({
      // The two kinds of messages are verified alike; the types name each by itself.
      message: message as Message<Uint8Array>,
      verificationKeys: keys,
      ...(signature !== undefined && { signature, format: "binary" }),
    });
    // Archives are signed by several keys, of which a machine may know some.
    for (const { keyID, verified } of signatures) {
      try {
        await verified;
        const signer = keys.find((key) => key.getKeys(keyID).length > 0);
        if (signer !== undefined) return signer.getFingerprint();
      } catch (error) {
        problems.push(messageOf(error));
      }
    }
  } catch (error) {
    problems.push(messageOf(error));
  }
  const reason = problems.map((problem) => problem.replace(/\s+/g, " ")).join("; ");
  throw new FormatError("openpgp", `it is not signed by a known key${reason === "" ? "" : `: ${reason}`}`);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
