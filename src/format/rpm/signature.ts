import { createMessage, readSignature, verify } from "openpgp";
import { FormatError } from "../format-error";
import type { PublicKeys } from "../openpgp/keys";
import type { RpmPackage } from "./reader";

const MAX_SIGNATURE = 64 * 1024;

/**
 * Checks that one of the keys has signed the package: its header, which holds the digest of its files.
 * @returns the fingerprint of the key
 * @throws FormatError that says why the package cannot be trusted
 */
export async function verifyRpmSignature(read: RpmPackage, keys: PublicKeys): Promise<string> {
  if (read.signatures.length === 0) throw new FormatError("rpm", `the package ${read.name} is not signed`);
  if (!read.headerCoversPayload) {
    throw new FormatError(
      "rpm",
      `the signature of ${read.name} does not cover its files; it was made by an RPM before 4.14`,
    );
  }
  const problems: string[] = [];
  for (const binarySignature of read.signatures) {
    if (binarySignature.length > MAX_SIGNATURE) throw new FormatError("rpm", "a signature is too long");
    try {
      const result = await verify({
        message: await createMessage({ binary: read.signedHeader }),
        signature: await readSignature({ binarySignature }),
        verificationKeys: keys,
        format: "binary",
      });
      for (const signature of result.signatures) {
        try {
          await signature.verified;
          const signer = keys.find((key) => key.getKeys(signature.keyID).length > 0);
          if (signer !== undefined) return signer.getFingerprint();
        } catch (error) {
          problems.push(error instanceof Error ? error.message : String(error));
        }
      }
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  const reason = problems.map((problem) => problem.replace(/\s+/g, " ")).join("; ");
  throw new FormatError("rpm", `the package ${read.name} is not signed by a given key: ${reason}`);
}
