/** Finding images by what people call them, and the names that images have. */
import {
  combineReference,
  familiarName,
  familiarString,
  type ImageReference,
  parseReference,
  withDefaultTag,
} from "../../registry/reference.ts";
import { RegistryError } from "../../registry/registry-error.ts";
import { EngineError, invalid, notFound } from "../errors.ts";
import type { Catalog, CatalogImage } from "./catalog.ts";
import type { Repositories } from "./records.ts";

/** Shortest id prefix that is looked for, as short as Docker takes it. */
const ID_PREFIX = /^(?:sha256:)?([0-9a-f]{1,64})$/;

export function parseImageName(text: string): ImageReference {
  try {
    return parseReference(text);
  } catch (error) {
    throw error instanceof RegistryError ? invalid(error.message) : error;
  }
}

export function combineImageName(repository: string, tag: string | undefined): ImageReference {
  try {
    return combineReference(repository, tag);
  } catch (error) {
    throw error instanceof RegistryError ? invalid(error.message) : error;
  }
}

/** Key in the repositories document. */
export const repositoryKey = ({ domain, path }: ImageReference): string => `${domain}/${path}`;

export function idOfName(repositories: Repositories, reference: ImageReference): string | undefined {
  const entry = repositories.repositories[repositoryKey(reference)];
  if (entry === undefined) return undefined;
  if (reference.digest !== undefined) return own(entry.digests, reference.digest);
  return own(entry.tags, withDefaultTag(reference).tag ?? "");
}

const own = (record: Record<string, string>, key: string): string | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined;

export interface FoundImage {
  image: CatalogImage;
  /** The name by which it was found; undefined when by id. */
  reference: ImageReference | undefined;
}

/** By name first, then by id or its unique prefix. Throws EngineError not-found with Docker's text. */
export function findImage(catalog: Catalog, text: string): FoundImage {
  const shown = (id: string | undefined): CatalogImage | undefined => {
    const image = id === undefined ? undefined : catalog.images.get(id);
    return image?.record.hidden ? undefined : image;
  };
  let reference: ImageReference | undefined;
  let display = text;
  const hex = ID_PREFIX.exec(text)?.[1];
  if (hex?.length !== 64) {
    try {
      reference = withDefaultTag(parseReference(text));
      display = familiarString(reference);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      if (hex === undefined) throw invalid(error.message);
    }
  }
  const named = reference === undefined ? undefined : shown(idOfName(catalog.repositories, reference));
  if (named !== undefined) return { image: named, reference };
  if (hex !== undefined) {
    const matches = [...catalog.images.keys()].filter(
      (id) => id.startsWith(`sha256:${hex}`) && shown(id) !== undefined,
    );
    if (matches.length > 1) throw new EngineError("invalid", `multiple IDs found with provided prefix: ${text}`);
    const image = shown(matches[0]);
    if (image !== undefined) return { image, reference: undefined };
  }
  throw notFound(`No such image: ${display}`);
}

export interface ImageNames {
  tags: string[];
  digests: string[];
}

/** Familiar tags (`busybox:latest`) and digests (`busybox@sha256:…`) of every image. */
export function namesByImage(repositories: Repositories): Map<string, ImageNames> {
  const names = new Map<string, ImageNames>();
  const of = (id: string): ImageNames => {
    const known = names.get(id) ?? { tags: [], digests: [] };
    names.set(id, known);
    return known;
  };
  for (const [key, { tags, digests }] of Object.entries(repositories.repositories)) {
    const name = familiarOfKey(key);
    for (const [tag, id] of Object.entries(tags)) of(id).tags.push(`${name}:${tag}`);
    for (const [digest, id] of Object.entries(digests)) of(id).digests.push(`${name}@${digest}`);
  }
  for (const { tags, digests } of names.values()) {
    tags.sort();
    digests.sort();
  }
  return names;
}

function familiarOfKey(key: string): string {
  const slash = key.indexOf("/");
  return familiarName({ domain: key.slice(0, slash), path: key.slice(slash + 1) });
}

/** Gives the image this name, taking it from whichever had it. */
export function setName(repositories: Repositories, reference: ImageReference, id: string): void {
  const key = repositoryKey(reference);
  const entry = repositories.repositories[key] ?? { tags: {}, digests: {} };
  repositories.repositories[key] = entry;
  if (reference.tag !== undefined) entry.tags[reference.tag] = id;
  if (reference.digest !== undefined) entry.digests[reference.digest] = id;
  repositories.lastTagged[id] = new Date().toISOString();
}

export function removeName(repositories: Repositories, reference: ImageReference): void {
  const key = repositoryKey(reference);
  const entry = repositories.repositories[key];
  if (entry === undefined) return;
  if (reference.digest !== undefined) delete entry.digests[reference.digest];
  else delete entry.tags[reference.tag ?? ""];
  if (Object.keys(entry.tags).length === 0 && Object.keys(entry.digests).length === 0) {
    delete repositories.repositories[key];
  }
}

/** All names of an image, for taking them away. */
export function referencesOf(repositories: Repositories, id: string): ImageReference[] {
  return Object.entries(repositories.repositories).flatMap(([key, { tags, digests }]) => {
    const slash = key.indexOf("/");
    const repository = { domain: key.slice(0, slash), path: key.slice(slash + 1) };
    const mine = (names: Record<string, string>): string[] => Object.keys(names).filter((name) => names[name] === id);
    return [
      ...mine(tags).map((tag) => ({ ...repository, tag })),
      ...mine(digests).map((digest) => ({ ...repository, digest })),
    ];
  });
}

/** Ids of the images that others were made of. */
export function parentIds(catalog: Catalog): Set<string> {
  const parents = new Set<string>();
  for (const { record } of catalog.images.values())
    if (record.parent !== undefined && !record.hidden) parents.add(record.parent);
  return parents;
}
