import { createPrivateKey, sign, X509Certificate } from "node:crypto";
import { FormatError } from "../format-error";
import { der, derChildren, derTag, oid } from "./der";
import { readPe } from "./image";

/** Who signs for Secure Boot: the key, and the certificate that the firmware knows. */
export interface SecureBootSigner {
  /** PEM of an RSA private key, 2048 bits or more. */
  privateKeyPem: string;
  /** PEM of its certificate. */
  certificatePem: string;
}

const SHA256 = der(derTag.sequence, oid("2.16.840.1.101.3.4.2.1"), der(derTag.null));
const RSA = der(derTag.sequence, oid("1.2.840.113549.1.1.1"), der(derTag.null));
const CERTIFICATE_REVISION = 0x0200;
const CERTIFICATE_PKCS7 = 0x0002;

/** What Authenticode signs: SHA-256 of the image without its checksum and without signatures. */
export function authenticodeDigest(image: Uint8Array): Uint8Array {
  const layout = readPe(image);
  const checksum = layout.optionalHeader + 64;
  const end = layout.certificateSize > 0 ? Math.min(layout.certificateOffset, image.length) : image.length;
  const hash = new Bun.CryptoHasher("sha256");
  hash.update(image.subarray(0, checksum));
  hash.update(image.subarray(checksum + 4, layout.certificateEntry));
  hash.update(image.subarray(layout.certificateEntry + 8, end));
  // The signature begins at a multiple of eight.
  hash.update(new Uint8Array(-end & 7));
  return hash.digest();
}

/**
 * Signs a PE image for UEFI Secure Boot (Windows Authenticode Portable Executable Signature Format, PKCS #7). Without a
 * signing time, so that the same inputs give the same bytes.
 * @throws FormatError when key and certificate do not belong together, or are not RSA
 */
export function signPe(image: Uint8Array, signer: SecureBootSigner): Uint8Array {
  const key = createPrivateKey(signer.privateKeyPem);
  const certificate = new X509Certificate(signer.certificatePem);
  if (key.asymmetricKeyType !== "rsa")
    throw new FormatError("authenticode", "the key is not RSA; firmware takes RSA keys only");
  if (!certificate.checkPrivateKey(key)) throw new FormatError("authenticode", "the certificate is for another key");
  const layout = readPe(image);
  if (layout.certificateSize > 0) throw new FormatError("authenticode", "the image is signed already");
  const padded = new Uint8Array(Math.ceil(image.length / 8) * 8);
  padded.set(image);
  const content = indirectData(authenticodeDigest(padded));
  const signature = signedData(content, certificate.raw, (bytes) => sign("sha256", bytes, key));
  const entry = new Uint8Array(Math.ceil((8 + signature.length) / 8) * 8);
  const entryView = new DataView(entry.buffer);
  entryView.setUint32(0, entry.length, true);
  entryView.setUint16(4, CERTIFICATE_REVISION, true);
  entryView.setUint16(6, CERTIFICATE_PKCS7, true);
  entry.set(signature, 8);
  const signed = Buffer.concat([padded, entry]);
  const view = new DataView(signed.buffer, signed.byteOffset);
  view.setUint32(layout.certificateEntry, padded.length, true);
  view.setUint32(layout.certificateEntry + 4, entry.length, true);
  return signed;
}

/** SpcIndirectDataContent: "this is a PE image with this digest". */
function indirectData(digest: Uint8Array): Uint8Array {
  const obsolete = Buffer.from("<<<Obsolete>>>", "utf16le").swap16();
  const file = der(derTag.context(0), der(derTag.context(2), der(derTag.implicit(0), obsolete)));
  const image = der(derTag.sequence, der(derTag.bitString, Uint8Array.of(0)), file);
  return der(
    derTag.sequence,
    der(derTag.sequence, oid("1.3.6.1.4.1.311.2.1.15"), image),
    der(derTag.sequence, SHA256, der(derTag.octetString, digest)),
  );
}

function signedData(
  content: Uint8Array,
  certificate: Uint8Array,
  signBytes: (bytes: Uint8Array) => Uint8Array,
): Uint8Array {
  const contentType = oid("1.3.6.1.4.1.311.2.1.4");
  // The digest is over the content without its own tag and length.
  const inside = Buffer.concat(derChildren(content) ?? []);
  const digest = new Bun.CryptoHasher("sha256").update(inside).digest();
  const attributes = Buffer.concat([
    der(derTag.sequence, oid("1.2.840.113549.1.9.3"), der(derTag.set, contentType)),
    der(derTag.sequence, oid("1.2.840.113549.1.9.4"), der(derTag.set, der(derTag.octetString, digest))),
  ]);
  const { issuer, serial } = issuerAndSerial(certificate);
  const signerInfo = der(
    derTag.sequence,
    der(derTag.integer, Uint8Array.of(1)),
    der(derTag.sequence, issuer, serial),
    SHA256,
    der(derTag.context(0), attributes),
    RSA,
    der(derTag.octetString, signBytes(der(derTag.set, attributes))),
  );
  const data = der(
    derTag.sequence,
    der(derTag.integer, Uint8Array.of(1)),
    der(derTag.set, SHA256),
    der(derTag.sequence, contentType, der(derTag.context(0), content)),
    der(derTag.context(0), certificate),
    der(derTag.set, signerInfo),
  );
  return der(derTag.sequence, oid("1.2.840.113549.1.7.2"), der(derTag.context(0), data));
}

function issuerAndSerial(certificate: Uint8Array): { issuer: Uint8Array; serial: Uint8Array } {
  const [body = new Uint8Array(0)] = derChildren(certificate) ?? [];
  const fields = derChildren(body) ?? [];
  // The version comes first, in certificates of version 3.
  const at = fields[0]?.[0] === derTag.context(0) ? 1 : 0;
  const [serial, , issuer] = fields.slice(at);
  if (serial === undefined || issuer === undefined)
    throw new FormatError("authenticode", "the certificate is malformed");
  return { issuer, serial };
}
