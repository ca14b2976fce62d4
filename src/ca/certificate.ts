/** Makes and reads X.509 certificates. EC P-256 throughout: small, fast handshakes, known to every TLS library. */
import "reflect-metadata";
import { createHash, randomBytes } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 60 * 60 * 1000;
/** Certificates begin a little in the past, for clients whose clock is behind. */
const CLOCK_SKEW_MS = 60 * 60 * 1000;

export const AUTHORITY_VALIDITY_DAYS = 3650;
/** Apple's TLS refuses server certificates that are valid for longer than 825 days. */
export const LEAF_VALIDITY_DAYS = 820;

export interface KeyedCertificate {
  certificatePem: string;
  /** PKCS #8. */
  keyPem: string;
}

export interface Signer {
  certificate: x509.X509Certificate;
  key: CryptoKey;
}

export async function makeAuthority(commonName: string, organisation: string): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(subject(commonName, organisation), AUTHORITY_VALIDITY_DAYS),
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return withKey(certificate, keys.privateKey);
}

/** A certificate for a TLS server, valid for the given DNS names and IP addresses. */
export async function makeServerCertificate(signer: Signer, names: readonly string[]): Promise<KeyedCertificate> {
  const [first] = names;
  if (first === undefined) throw new Error("a server certificate needs at least one DNS name or IP address");
  return await makeLeaf(signer, subject(first), x509.ExtendedKeyUsage.serverAuth, [subjectAlternativeNames(names)]);
}

/** A certificate for a TLS client; the common name is what the endpoint's log shows. */
export async function makeClientCertificate(
  signer: Signer,
  commonName: string,
  organisation: string | undefined,
): Promise<KeyedCertificate> {
  return await makeLeaf(signer, subject(commonName, organisation), x509.ExtendedKeyUsage.clientAuth, []);
}

/** A certificate without authority, for links whose two ends know each other's fingerprint. */
export async function makeSelfSigned(
  names: readonly string[],
  validityDays = LEAF_VALIDITY_DAYS,
): Promise<KeyedCertificate> {
  const [first] = names;
  if (first === undefined) throw new Error("a certificate needs at least one DNS name or IP address");
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(subject(first), validityDays),
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      subjectAlternativeNames(names),
    ],
  });
  return withKey(certificate, keys.privateKey);
}

export async function signerOf({ certificatePem, keyPem }: KeyedCertificate): Promise<Signer> {
  const der = x509.PemConverter.decodeFirst(keyPem);
  const key = await crypto.subtle.importKey("pkcs8", der, ALGORITHM, true, ["sign"]);
  return { certificate: new x509.X509Certificate(certificatePem), key };
}

/** SHA-256 of the certificate as `AA:BB:…`, the form of `openssl x509 -fingerprint -sha256` and of vSphere. */
export function fingerprint(certificatePem: string): string {
  const der = new Uint8Array(x509.PemConverter.decodeFirst(certificatePem));
  const digest = createHash("sha256").update(der).digest("hex").toUpperCase();
  return digest.replace(/..(?!$)/g, "$&:");
}

export interface CertificateDescription {
  subject: string;
  issuer: string;
  notBefore: Date;
  notAfter: Date;
  /** DNS names and IP addresses of a server certificate. */
  names: string[];
  fingerprint: string;
}

export function describe(certificatePem: string): CertificateDescription {
  const certificate = new x509.X509Certificate(certificatePem);
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.toJSON() ?? [];
  return {
    subject: certificate.subject,
    issuer: certificate.issuer,
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    names: names.map((name) => name.value),
    fingerprint: fingerprint(certificatePem),
  };
}

/** True when `certificatePem` was signed by `authority` and both are within their time. */
export async function isIssuedBy(certificatePem: string, authority: Signer, at: Date): Promise<boolean> {
  const certificate = new x509.X509Certificate(certificatePem);
  if (certificate.issuer !== authority.certificate.subject) return false;
  return await certificate.verify({ publicKey: authority.certificate.publicKey, date: at });
}

async function makeLeaf(
  { certificate: authority, key }: Signer,
  subjectName: string,
  usage: x509.ExtendedKeyUsage,
  extensions: x509.Extension[],
): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const dates = common(subjectName, LEAF_VALIDITY_DAYS);
  // A leaf that outlives its authority would fail in a way that its own dates do not show.
  const notAfter = new Date(Math.min(dates.notAfter.getTime(), authority.notAfter.getTime()));
  const certificate = await x509.X509CertificateGenerator.create({
    ...dates,
    notAfter,
    subject: subjectName,
    issuer: authority.subject,
    publicKey: keys.publicKey,
    signingKey: key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
      ...extensions,
    ],
  });
  return await withKey(certificate, keys.privateKey);
}

function common(name: string, validityDays: number) {
  const now = Date.now();
  return {
    // RFC 5280 wants a positive number of at most 20 octets; a leading 01 keeps it positive and of fixed length.
    serialNumber: `01${randomBytes(16).toString("hex")}`,
    name,
    notBefore: new Date(now - CLOCK_SKEW_MS),
    notAfter: new Date(now + validityDays * DAY_MS),
    signingAlgorithm: ALGORITHM,
  };
}

function subject(commonName: string, organisation?: string): string {
  const parts = [{ CN: [commonName] }, ...(organisation === undefined ? [] : [{ O: [organisation] }])];
  return new x509.Name(parts).toString();
}

function subjectAlternativeNames(names: readonly string[]): x509.SubjectAlternativeNameExtension {
  return new x509.SubjectAlternativeNameExtension(
    [...new Set(names)].map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
  );
}

async function newKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function withKey(certificate: x509.X509Certificate, key: CryptoKey): Promise<KeyedCertificate> {
  const der = await crypto.subtle.exportKey("pkcs8", key);
  return {
    certificatePem: `${certificate.toString("pem")}\n`,
    keyPem: `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`,
  };
}
