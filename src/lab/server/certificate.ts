import "reflect-metadata";
import { createHash, X509Certificate } from "node:crypto";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { readIfPresent, writeAtomically } from "../state-file.ts";

export interface ServerCertificate {
  certificatePem: string;
  keyPem: string;
  /** SHA-256 of the DER certificate, upper-case hex with colons. */
  fingerprint: string;
  /** SHA-1 of the DER certificate, what vim25 fields named `sslThumbprint` carry. */
  thumbprint: string;
}

/** ESXi's own certificates are valid this long. */
const VALIDITY_DAYS = 5 * 365;
/** A certificate that ends within this time is made anew at start. */
const RENEWAL_DAYS = 30;
const DAY_MILLISECONDS = 24 * 60 * 60 * 1000;
const FILE_NAME = "certificate.pem";

/**
 * The server's certificate from the state folder, made at the first start. One file holds key and certificate, so that a
 * crash cannot leave a mismatched pair.
 */
export async function loadServerCertificate(stateDirectory: string, hosts: string[]): Promise<ServerCertificate> {
  const file = join(stateDirectory, FILE_NAME);
  const stored = splitPem(await readIfPresent(file));
  if (stored && covers(stored.certificatePem, hosts)) return withFingerprints(stored);
  const made = await makeCertificate(hosts);
  await writeAtomically(file, made.keyPem + made.certificatePem, 0o600);
  return withFingerprints(made);
}

function splitPem(text: string | undefined): { certificatePem: string; keyPem: string } | undefined {
  const keyPem = text?.match(/-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/)?.[0];
  const certificatePem = text?.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/)?.[0];
  return keyPem && certificatePem ? { keyPem, certificatePem } : undefined;
}

const isAddress = (host: string): boolean => /^[\d.]+$/.test(host) || host.includes(":");

function covers(certificatePem: string, hosts: string[]): boolean {
  const certificate = new X509Certificate(certificatePem);
  const remaining = certificate.validToDate.getTime() - Date.now();
  if (remaining < RENEWAL_DAYS * DAY_MILLISECONDS) return false;
  return hosts.every((host) => (isAddress(host) ? certificate.checkIP(host) : certificate.checkHost(host)));
}

function withFingerprints(pair: { certificatePem: string; keyPem: string }): ServerCertificate {
  const certificate = new X509Certificate(pair.certificatePem);
  return {
    ...pair,
    fingerprint: certificate.fingerprint256,
    thumbprint: colonHex(createHash("sha1").update(certificate.raw).digest("hex")),
  };
}

const colonHex = (hex: string): string => (hex.toUpperCase().match(/../g) ?? []).join(":");

async function makeCertificate(hosts: string[]): Promise<{ certificatePem: string; keyPem: string }> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const names = hosts.map((host): x509.JsonGeneralName => ({ type: isAddress(host) ? "ip" : "dns", value: host }));
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${hosts[0] ?? "localhost"}, O=vch lab`,
    notBefore: new Date(Date.now() - DAY_MILLISECONDS),
    notAfter: new Date(Date.now() + VALIDITY_DAYS * DAY_MILLISECONDS),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.SubjectAlternativeNameExtension(names),
      // Clients that are given this certificate as their authority need it to be one.
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const body = (pkcs8.toString("base64").match(/.{1,64}/g) ?? []).join("\n");
  return {
    certificatePem: `${certificate.toString("pem").trim()}\n`,
    keyPem: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
  };
}
