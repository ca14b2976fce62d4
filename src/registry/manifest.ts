/** Image manifests: Docker schema 2 and OCI, and lists (indexes) of them by platform. Everything in them is checked. */
import { type Digest, isDigest } from "./digest.ts";
import { RegistryError } from "./registry-error.ts";

export interface Descriptor {
  mediaType: string;
  digest: Digest;
  /** Bytes. */
  size: number;
}

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
}

export interface ImageManifest {
  kind: "image";
  mediaType: string;
  config: Descriptor;
  layers: Descriptor[];
}

export interface ManifestList {
  kind: "list";
  mediaType: string;
  manifests: (Descriptor & { platform?: Platform })[];
}

export const MEDIA_TYPES = {
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
} as const;

/** What is asked for; schema 1 is not among it. */
export const ACCEPTED_MANIFESTS = [
  MEDIA_TYPES.dockerManifest,
  MEDIA_TYPES.dockerList,
  MEDIA_TYPES.ociManifest,
  MEDIA_TYPES.ociIndex,
].join(", ");

/** Limit for manifests and for image configurations, as in dockerd. */
export const MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024;
/** More layers than any real image has; bounds the work that one manifest can ask for. */
const LAYER_LIMIT = 1024;
const LIST_LIMIT = 1024;

const LAYER_TYPES =
  /^application\/vnd\.(docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?|oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?)$/;

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const bad = (reason: string): RegistryError => new RegistryError("invalid", `invalid manifest: ${reason}`);

export function parseManifest(bytes: Uint8Array, contentType: string, name: string): ImageManifest | ManifestList {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new RegistryError("invalid", "invalid manifest: it is not JSON", { cause });
  }
  if (!isObject(document)) throw bad("it is not a JSON object");
  const headerType = contentType.split(";")[0]?.trim() ?? "";
  const mediaType = typeof document.mediaType === "string" ? document.mediaType : headerType;
  if (document.schemaVersion === 1 || /docker\.distribution\.manifest\.v1\+(json|prettyjws)$/.test(mediaType)) {
    throw new RegistryError(
      "unsupported",
      `Docker Image manifest version 2, schema 1 is not supported (long deprecated and removed from Docker as well). Suggest the author of ${name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2, for example by pulling and pushing it with an older Docker`,
    );
  }
  if (document.schemaVersion !== 2) throw bad("schemaVersion is not 2");
  const hasList = Array.isArray(document.manifests);
  const hasLayers = Array.isArray(document.layers);
  // A document that can be read both ways could show one image to a scanner and another to us.
  if (hasList === hasLayers) throw bad("expected either layers or manifests");
  return hasList ? parseList(document, mediaType) : parseImage(document, mediaType);
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isObject(value)) throw bad(`${what} is no descriptor`);
  const { mediaType, digest, size } = value;
  if (typeof digest !== "string" || !isDigest(digest)) throw bad(`${what} has no valid digest`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw bad(`${what} has no valid size`);
  return { mediaType: typeof mediaType === "string" ? mediaType : "", digest, size };
}

function parseImage(document: JsonObject, mediaType: string): ImageManifest {
  const config = parseDescriptor(document.config, "config");
  if (config.mediaType !== MEDIA_TYPES.dockerConfig && config.mediaType !== MEDIA_TYPES.ociConfig) {
    throw new RegistryError(
      "unsupported",
      `unsupported config media type "${config.mediaType.slice(0, 100)}": this is not a container image`,
    );
  }
  if (config.size > MANIFEST_LIMIT_BYTES) throw bad(`the config is larger than ${MANIFEST_LIMIT_BYTES} bytes`);
  const layers = document.layers as unknown[];
  if (layers.length > LAYER_LIMIT) throw bad(`more than ${LAYER_LIMIT} layers`);
  return {
    kind: "image",
    mediaType,
    config,
    layers: layers.map((layer, index) => {
      const descriptor = parseDescriptor(layer, `layer ${index}`);
      if (!LAYER_TYPES.test(descriptor.mediaType)) {
        throw new RegistryError("unsupported", `unsupported layer media type "${descriptor.mediaType.slice(0, 100)}"`);
      }
      return descriptor;
    }),
  };
}

function parseList(document: JsonObject, mediaType: string): ManifestList {
  const manifests = document.manifests as unknown[];
  if (manifests.length > LIST_LIMIT) throw bad(`more than ${LIST_LIMIT} manifests`);
  return {
    kind: "list",
    mediaType,
    manifests: manifests.map((entry, index) => {
      const descriptor = parseDescriptor(entry, `manifest ${index}`);
      const platform = isObject(entry) && isObject(entry.platform) ? entry.platform : undefined;
      const text = (name: string): string => (typeof platform?.[name] === "string" ? String(platform[name]) : "");
      if (platform === undefined) return descriptor;
      return {
        ...descriptor,
        platform: normalizePlatform({ os: text("os"), architecture: text("architecture"), variant: text("variant") }),
      };
    }),
  };
}

const ARCHITECTURE_NAMES: Record<string, string> = {
  x86_64: "amd64",
  "x86-64": "amd64",
  aarch64: "arm64",
  i386: "386",
};

function normalizePlatform({ os, architecture, variant }: Platform): Platform {
  const machine = ARCHITECTURE_NAMES[architecture.toLowerCase()] ?? architecture.toLowerCase();
  let kind = variant?.toLowerCase() ?? "";
  if (machine === "arm64" && (kind === "8" || kind === "v8")) kind = "";
  if (machine === "amd64" && kind === "v1") kind = "";
  if (machine === "arm") kind = kind === "" ? "v7" : kind.startsWith("v") ? kind : `v${kind}`;
  return { os: os.toLowerCase(), architecture: machine, ...(kind === "" ? {} : { variant: kind }) };
}

/** `linux/arm/v7`, `linux`, `arm64`: what is left out comes from `defaults`. */
export function parsePlatform(text: string, defaults: Platform): Platform {
  const parts = text.split("/");
  if (parts.length > 3 || parts.some((part) => !/^[A-Za-z0-9_.-]+$/.test(part))) {
    throw new RegistryError(
      "invalid",
      `"${text}" is an invalid platform specifier: expected os[/architecture[/variant]]`,
    );
  }
  const [first = "", architecture, variant] = parts;
  if (architecture !== undefined) return normalizePlatform({ os: first, architecture, variant });
  return first.toLowerCase() === "linux" || first.toLowerCase() === "windows"
    ? normalizePlatform({ ...defaults, os: first })
    : normalizePlatform({ os: defaults.os, architecture: first });
}

export const formatPlatform = ({ os, architecture, variant }: Platform): string =>
  [os, architecture, ...(variant ? [variant] : [])].join("/");

const variantNumber = (platform: Platform): number => Number(/^v(\d+)/.exec(platform.variant ?? "")?.[1] ?? 0);

/** True when something built for `offered` runs on `wanted`: same system, and no newer variant of the processor. */
export function platformRuns(offered: Platform, wanted: Platform): boolean {
  const a = normalizePlatform(offered);
  const b = normalizePlatform(wanted);
  return a.os === b.os && a.architecture === b.architecture && variantNumber(a) <= variantNumber(b);
}

/** The entry of a list for a platform: the newest variant that the platform can run. */
export function chooseManifest(list: ManifestList, wanted: Platform): Descriptor {
  const candidates = list.manifests
    .flatMap((entry) => (entry.platform === undefined ? [] : [{ entry, platform: entry.platform }]))
    .filter(({ platform }) => platformRuns(platform, wanted))
    .sort((a, b) => variantNumber(b.platform) - variantNumber(a.platform));
  const chosen = candidates[0]?.entry;
  if (chosen === undefined) {
    throw new RegistryError(
      "not-found",
      `no matching manifest for ${formatPlatform(wanted)} in the manifest list entries`,
    );
  }
  return chosen;
}
