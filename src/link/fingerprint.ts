/** Lower-case hex SHA-256 of a DER certificate, as in LinkConfiguration.serverFingerprint. */
export const derFingerprint = (der: Uint8Array): string => new Bun.CryptoHasher("sha256").update(der).digest("hex");

/** The same of the first certificate in a PEM text. Throws when there is none. */
export const pemFingerprint = (pem: string): string => {
  const body = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(pem)?.[1];
  if (body === undefined) throw new Error("no PEM certificate found");
  return derFingerprint(Buffer.from(body, "base64"));
};
