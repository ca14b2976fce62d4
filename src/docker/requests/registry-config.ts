/** X-Registry-Config of a build: credentials of several registries, by the names that `docker login` gives them. */
import type { RegistryCredentials } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import { credentialsOf } from "./registry-auth.ts";

const MAX_HEADER_LENGTH = 256 * 1024;
const MAX_REGISTRIES = 1000;

/** Decodes base64url JSON. Throws `invalid`. */
export function registryConfig(header: string | undefined): ReadonlyMap<string, RegistryCredentials> {
  const result = new Map<string, RegistryCredentials>();
  if (header === undefined || header === "") return result;
  const malformed = invalid("invalid X-Registry-Config header: it must be base64url-encoded JSON");
  if (header.length > MAX_HEADER_LENGTH || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(header)) throw malformed;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
  } catch {
    throw malformed;
  }
  if (value === null) return result;
  if (typeof value !== "object" || Array.isArray(value)) throw malformed;
  const entries = Object.entries(value);
  if (entries.length > MAX_REGISTRIES) throw malformed;
  for (const [registry, credentials] of entries) {
    const known = credentialsOf(credentials, "X-Registry-Config");
    if (known !== undefined) result.set(registry, known);
  }
  return result;
}
