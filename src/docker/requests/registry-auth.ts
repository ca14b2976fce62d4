import type { RegistryCredentials } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";

const FIELDS = ["username", "password", "identitytoken", "registrytoken", "serveraddress"] as const;
const MAX_HEADER_LENGTH = 64 * 1024;

/** Decodes X-Registry-Auth: base64url JSON. Undefined when absent or when it carries nothing. Throws `invalid`. */
export function registryCredentials(header: string | undefined): RegistryCredentials | undefined {
  if (header === undefined || header === "") return undefined;
  const malformed = invalid("invalid X-Registry-Auth header: it must be base64url-encoded JSON");
  if (header.length > MAX_HEADER_LENGTH || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(header)) throw malformed;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
  } catch {
    throw malformed;
  }
  return credentialsOf(value, "X-Registry-Auth");
}

/** One registry's credentials out of decoded JSON; undefined when there is nothing in it. Throws `invalid` that names the header. */
export function credentialsOf(value: unknown, header: string): RegistryCredentials | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(`invalid ${header} header: it must be base64url-encoded JSON`);
  const credentials: RegistryCredentials = {};
  for (const [name, field] of Object.entries(value)) {
    const known = FIELDS.find((candidate) => candidate === name.toLowerCase());
    if (known === undefined || field === null || field === "") continue;
    if (typeof field !== "string") throw invalid(`invalid ${header} header: "${name}" must be a string`);
    credentials[known] = field;
  }
  // Older clients send user and password only as one base64 field.
  if (credentials.username === undefined && "auth" in value && typeof value.auth === "string") {
    const [, username, password] = /^([^:]*):([\s\S]*)$/.exec(Buffer.from(value.auth, "base64").toString("utf8")) ?? [];
    if (username) Object.assign(credentials, { username, password });
  }
  return Object.keys(credentials).length === 0 ? undefined : credentials;
}
