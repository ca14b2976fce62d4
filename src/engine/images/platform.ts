/** The platform that a request names, against that of a stored image: the store keeps one platform per image. */
import { formatPlatform, type Platform, parsePlatform, platformRuns } from "../../registry/manifest.ts";
import { RegistryError } from "../../registry/registry-error.ts";
import { invalid, notFound } from "../errors.ts";
import type { CatalogImage } from "./catalog.ts";

const ANY: Platform = { os: "linux", architecture: "amd64" };

/**
 * Throws EngineError not-found in dockerd's words when the image is for another platform.
 * @param wanted `os/architecture[/variant]`; undefined asks for nothing
 */
export function checkPlatform({ configuration }: CatalogImage, name: string, wanted: string | undefined): void {
  if (wanted === undefined || wanted === "") return;
  const own = { os: configuration.os, architecture: configuration.architecture, variant: configuration.variant };
  const platform = readPlatform(wanted);
  if (platformRuns(own, platform)) return;
  throw notFound(
    `image with reference ${name} was found but its platform (${formatPlatform(own)}) does not match the specified platform (${formatPlatform(platform)})`,
  );
}

export function readPlatform(text: string, defaults: Platform = ANY): Platform {
  try {
    return parsePlatform(text, defaults);
  } catch (error) {
    throw error instanceof RegistryError ? invalid(error.message) : error;
  }
}
