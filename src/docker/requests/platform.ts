import { invalid } from "../../engine/errors.ts";

const MAX_LENGTH = 1024;

/**
 * A `platform` parameter of the newer operations: an OCI platform as JSON. Answers `os/architecture[/variant]`, as the
 * engine writes platforms; undefined when absent. Throws `invalid`.
 */
export function platformParameter(text: string | undefined): string | undefined {
  if (text === undefined || text === "") return undefined;
  const malformed = (): Error => invalid(`invalid platform: ${JSON.stringify(text.slice(0, 100))} is no OCI platform`);
  if (text.length > MAX_LENGTH) throw malformed();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed();
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed();
  const { os, architecture, variant } = value as Record<string, unknown>;
  if (typeof os !== "string" || typeof architecture !== "string" || os === "" || architecture === "") throw malformed();
  if (variant !== undefined && typeof variant !== "string") throw malformed();
  return [os, architecture, ...(variant ? [variant] : [])].join("/");
}
