import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CertificateAuthority, type KeyedCertificate, makeSelfSigned } from "../ca/index.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import type { StatePaths } from "./paths.ts";
import type { EndpointSettings } from "./settings.ts";

/** Guests pin the control link's certificate by its fingerprint for as long as they exist; its end date plays no part. */
const LINK_VALIDITY_DAYS = 36_500;

/** Common name of the client certificate that `vch env` points at. */
const LOCAL_CLIENT = "local";

/** Names under which clients reach the endpoint, besides the ones that every server certificate has. */
const serverNames = ({ docker, bridge }: EndpointSettings): string[] =>
  [docker.host, bridge.gateway].filter((host) => host !== "0.0.0.0" && host !== "::");

/** Makes the authority, the server's and the local client's certificate; renews what nears its end. */
export async function ensureCertificates(paths: StatePaths, settings: EndpointSettings): Promise<void> {
  const authority = await CertificateAuthority.loadOrCreate(paths.authority);
  await authority.issueServer(serverNames(settings));
  await authority.issueClient({ commonName: LOCAL_CLIENT, directory: paths.clientCertificates });
}

export interface ServingCertificates {
  server: KeyedCertificate;
  authorityPem: string;
}

export async function loadServingCertificates(
  paths: StatePaths,
  settings: EndpointSettings,
): Promise<ServingCertificates> {
  const authority = await CertificateAuthority.loadOrCreate(paths.authority);
  return { server: await authority.issueServer(serverNames(settings)), authorityPem: authority.certificatePem };
}

/** The control link's certificate, made once. Certificate and key are one file, so that they are there both or not at all. */
export async function loadLinkCertificate(paths: StatePaths): Promise<KeyedCertificate> {
  const file = join(paths.authority, "link.json");
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text !== undefined) return JSON.parse(text) as KeyedCertificate;
  const made = await makeSelfSigned(["vch-control-link"], LINK_VALIDITY_DAYS);
  await writeFileAtomically(file, `${JSON.stringify(made)}\n`, 0o600);
  return made;
}
