/**
 * The endpoint's own certificate authority, kept in a directory:
 *
 * | file | content |
 * |---|---|
 * | `ca.pem`, `ca-key.pem` | the authority |
 * | `server-cert.pem`, `server-key.pem` | the endpoint's server certificate |
 * | `cert.pem`, `key.pem` | a client's; with `ca.pem` the layout of DOCKER_CERT_PATH |
 *
 * A pair is written key first, certificate last, so a certificate without its key never appears. After a crash between
 * the two, the key does not fit the certificate; the next `issue…` sees it and makes a new pair.
 */
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { hostname } from "node:os";
import {
  type CertificateDescription,
  describe,
  isIssuedBy,
  type KeyedCertificate,
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
  type Signer,
  signerOf,
} from "./certificate.ts";
import { makeDirectory, PUBLIC_MODE, readIfPresent, SECRET_MODE, writeAtomically } from "./files.ts";

export { type CertificateDescription, fingerprint, type KeyedCertificate, makeSelfSigned } from "./certificate.ts";

const AUTHORITY = { certificate: "ca.pem", key: "ca-key.pem" } as const;
const SERVER = { certificate: "server-cert.pem", key: "server-key.pem" } as const;
const CLIENT = { certificate: "cert.pem", key: "key.pem" } as const;
type PairNames = { certificate: string; key: string };

/** A certificate with less time left than this is issued anew. */
export const RENEW_BEFORE_MS = 30 * 24 * 60 * 60 * 1000;

const DEFAULT_AUTHORITY_NAME = "vch certificate authority";
const DEFAULT_ORGANISATION = "vch";
/** Longest common name that X.520 allows. */
const MAX_NAME_LENGTH = 64;

export interface AuthorityDescription {
  authority: CertificateDescription;
  server?: CertificateDescription;
  client?: CertificateDescription;
}

export class CertificateAuthority {
  private constructor(
    readonly directory: string,
    readonly certificatePem: string,
    readonly signer: Signer,
  ) {}

  /** Makes a new authority. Throws when the directory has one already. */
  static async create(
    directory: string,
    options: { commonName?: string; organisation?: string } = {},
  ): Promise<CertificateAuthority> {
    await makeDirectory(directory);
    if ((await readIfPresent(directory, AUTHORITY.certificate)) !== undefined) {
      throw new Error(`${directory} already holds a certificate authority: use it, or choose another directory`);
    }
    const { commonName = DEFAULT_AUTHORITY_NAME, organisation = DEFAULT_ORGANISATION } = options;
    checkName(commonName);
    await writePair(directory, AUTHORITY, await makeAuthority(commonName, organisation));
    return await CertificateAuthority.load(directory);
  }

  /** Opens an existing authority. Throws when it is missing, incomplete or its key does not fit. */
  static async load(directory: string): Promise<CertificateAuthority> {
    const pair = await readPair(directory, AUTHORITY);
    if (pair === undefined) throw new Error(`${directory} holds no certificate authority: create one with \`vch ca\``);
    if (!keyFits(pair)) throw new Error(`${directory}: ${AUTHORITY.key} is not the key of ${AUTHORITY.certificate}`);
    return new CertificateAuthority(directory, pair.certificatePem, await signerOf(pair));
  }

  static async loadOrCreate(directory: string): Promise<CertificateAuthority> {
    const exists = (await readIfPresent(directory, AUTHORITY.certificate)) !== undefined;
    return exists ? await CertificateAuthority.load(directory) : await CertificateAuthority.create(directory);
  }

  /**
   * The server certificate for these names besides localhost, 127.0.0.1, ::1 and the host name. The one on disk is kept
   * while it covers all of them and is not near its end.
   */
  async issueServer(names: readonly string[] = []): Promise<KeyedCertificate> {
    const wanted = [...new Set([...names, hostname(), "localhost", "127.0.0.1", "::1"])];
    for (const name of wanted) checkSubjectAlternativeName(name);
    const present = await readPair(this.directory, SERVER);
    if (present !== undefined && (await this.#current(present))) {
      const covered = describe(present.certificatePem).names.map(canonicalName);
      if (wanted.every((name) => covered.includes(canonicalName(name)))) return present;
    }
    const issued = await makeServerCertificate(this.signer, wanted);
    await writePair(this.directory, SERVER, issued);
    return issued;
  }

  /**
   * A client certificate, written with `ca.pem` into `directory` (the authority's own when left out). One on disk for
   * the same name is kept while it is not near its end.
   */
  async issueClient(options: {
    commonName: string;
    organisation?: string;
    directory?: string;
  }): Promise<KeyedCertificate> {
    const { commonName, organisation, directory = this.directory } = options;
    checkName(commonName);
    if (organisation !== undefined) checkName(organisation);
    await makeDirectory(directory);
    const present = await readPair(directory, CLIENT);
    const subjectOf = (pem: string): string => new X509Certificate(pem).subject;
    if (present !== undefined && (await this.#current(present))) {
      const lines = [`CN=${commonName}`, ...(organisation === undefined ? [] : [`O=${organisation}`])];
      if (subjectOf(present.certificatePem) === lines.join("\n")) return present;
    }
    const issued = await makeClientCertificate(this.signer, commonName, organisation);
    if (directory !== this.directory) {
      await writeAtomically(directory, AUTHORITY.certificate, this.certificatePem, PUBLIC_MODE);
    }
    await writePair(directory, CLIENT, issued);
    return issued;
  }

  async inspect(): Promise<AuthorityDescription> {
    const server = await readIfPresent(this.directory, SERVER.certificate);
    const client = await readIfPresent(this.directory, CLIENT.certificate);
    return {
      authority: describe(this.certificatePem),
      ...(server === undefined ? {} : { server: describe(server) }),
      ...(client === undefined ? {} : { client: describe(client) }),
    };
  }

  async #current(pair: KeyedCertificate): Promise<boolean> {
    return (
      keyFits(pair) && (await isIssuedBy(pair.certificatePem, this.signer, new Date(Date.now() + RENEW_BEFORE_MS)))
    );
  }
}

export const createAuthority = CertificateAuthority.create;

export async function issueServer(directory: string, names: readonly string[]): Promise<KeyedCertificate> {
  return await (await CertificateAuthority.load(directory)).issueServer(names);
}

/** `into` is where `ca.pem`, `cert.pem` and `key.pem` go: the client's DOCKER_CERT_PATH. */
export async function issueClient(
  directory: string,
  options: { commonName: string; organisation?: string; into?: string },
): Promise<KeyedCertificate> {
  const { into, ...rest } = options;
  const authority = await CertificateAuthority.load(directory);
  return await authority.issueClient({ ...rest, ...(into === undefined ? {} : { directory: into }) });
}

export async function inspect(directory: string): Promise<AuthorityDescription> {
  return await (await CertificateAuthority.load(directory)).inspect();
}

async function writePair(directory: string, names: PairNames, pair: KeyedCertificate): Promise<void> {
  await writeAtomically(directory, names.key, pair.keyPem, SECRET_MODE);
  await writeAtomically(directory, names.certificate, pair.certificatePem, PUBLIC_MODE);
}

async function readPair(directory: string, names: PairNames): Promise<KeyedCertificate | undefined> {
  const certificatePem = await readIfPresent(directory, names.certificate);
  const keyPem = await readIfPresent(directory, names.key);
  return certificatePem === undefined || keyPem === undefined ? undefined : { certificatePem, keyPem };
}

function keyFits({ certificatePem, keyPem }: KeyedCertificate): boolean {
  const wanted = new X509Certificate(certificatePem).publicKey.export({ type: "spki", format: "der" });
  const given = createPublicKey(createPrivateKey(keyPem)).export({ type: "spki", format: "der" });
  return Buffer.compare(wanted, given) === 0;
}

function checkName(name: string): void {
  if (name.length === 0 || name.length > MAX_NAME_LENGTH || /[\p{Cc}]/u.test(name)) {
    throw new Error(`"${name}" cannot be a certificate name: 1 to ${MAX_NAME_LENGTH} printable characters are needed`);
  }
}

function checkSubjectAlternativeName(name: string): void {
  const isAddress = canonicalName(name).includes(":");
  if (!isAddress && !/^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$/.test(name)) {
    throw new Error(`"${name}" is neither a DNS name nor an IP address`);
  }
}

/** IPv6 addresses have many spellings; the URL parser knows the one. */
function canonicalName(name: string): string {
  if (!name.includes(":")) return name.toLowerCase();
  try {
    return new URL(`http://[${name}]`).hostname.slice(1, -1);
  } catch {
    throw new Error(`"${name}" is neither a DNS name nor an IP address`);
  }
}
