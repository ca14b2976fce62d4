/**
 * Image references as Docker reads them (the grammar of the distribution project), normalised:
 * `busybox` is `docker.io/library/busybox`.
 */
import { isDigest } from "./digest.ts";
import { RegistryError } from "./registry-error.ts";

export interface ImageReference {
  /** `docker.io`, `registry.example:5000` */
  domain: string;
  /** Repository inside the registry: `library/busybox`. */
  path: string;
  tag?: string;
  digest?: string;
}

export const DEFAULT_DOMAIN = "docker.io";
const OFFICIAL_PREFIX = "library/";
const DEFAULT_TAG = "latest";
const NAME_LENGTH_LIMIT = 255;
/** Longer input cannot be a reference; it is not even looked at. */
const REFERENCE_LENGTH_LIMIT = 1024;

const COMPONENT = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const DOMAIN = new RegExp(`^(?:${COMPONENT}(?:\\.${COMPONENT})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;

export const isTag = (text: string): boolean => TAG.test(text);

const malformed = (detail = ""): RegistryError =>
  new RegistryError("invalid", `invalid reference format${detail === "" ? "" : `: ${detail}`}`);

/** Throws RegistryError `invalid` with Docker's text. The tag is not defaulted; see `withDefaultTag`. */
export function parseReference(text: string): ImageReference {
  if (text.length > REFERENCE_LENGTH_LIMIT || text === "") throw malformed();
  if (/^[0-9a-f]{64}$/.test(text)) {
    throw new RegistryError("invalid", `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) throw malformed();
  const named = at < 0 ? text : text.slice(0, at);

  const slash = named.indexOf("/");
  const first = slash < 0 ? "" : named.slice(0, slash);
  const isDomain =
    slash >= 0 &&
    (/[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first || first.startsWith("["));
  const domain = isDomain ? (first === "index.docker.io" ? DEFAULT_DOMAIN : first) : DEFAULT_DOMAIN;
  const rest = isDomain ? named.slice(slash + 1) : named;
  if (!DOMAIN.test(domain)) throw malformed();

  const colon = rest.lastIndexOf(":");
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  if (tag !== undefined && !TAG.test(tag)) throw malformed();
  const shortPath = colon < 0 ? rest : rest.slice(0, colon);
  const path = domain === DEFAULT_DOMAIN && !shortPath.includes("/") ? `${OFFICIAL_PREFIX}${shortPath}` : shortPath;
  if (path.toLowerCase() !== path) throw malformed(`repository name (${path}) must be lowercase`);
  if (!path.split("/").every((component) => PATH_COMPONENT.test(component))) throw malformed();
  if (domain.length + 1 + path.length > NAME_LENGTH_LIMIT) {
    throw new RegistryError("invalid", `repository name must not be more than ${NAME_LENGTH_LIMIT} characters`);
  }
  return { domain, path, tag, digest };
}

/** A repository, and the tag or digest that the Docker API gives beside it. */
export function combineReference(repository: string, tagOrDigest: string | undefined): ImageReference {
  if (tagOrDigest === undefined || tagOrDigest === "") return parseReference(repository);
  const reference = parseReference(repository);
  if (isDigest(tagOrDigest)) return { domain: reference.domain, path: reference.path, digest: tagOrDigest };
  if (!TAG.test(tagOrDigest)) throw malformed();
  return { domain: reference.domain, path: reference.path, tag: tagOrDigest };
}

/** A reference with neither tag nor digest means the tag `latest`. */
export function withDefaultTag(reference: ImageReference): ImageReference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: DEFAULT_TAG } : reference;
}

/** The repository as people write it: `busybox`, `grafana/grafana`, `quay.io/prometheus/prometheus`. */
export function familiarName({ domain, path }: Pick<ImageReference, "domain" | "path">): string {
  if (domain !== DEFAULT_DOMAIN) return `${domain}/${path}`;
  return path.startsWith(OFFICIAL_PREFIX) && path.indexOf("/", OFFICIAL_PREFIX.length) < 0
    ? path.slice(OFFICIAL_PREFIX.length)
    : path;
}

/** With tag and digest, as Docker shows references. */
export function familiarString(reference: ImageReference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${familiarName(reference)}${tag}${digest}`;
}
