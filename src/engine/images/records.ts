/** What the store writes beside its disks. A marker file (`disk.json`, `image.json`) is written last: without it, there is nothing. */
import { randomBytes } from "node:crypto";
import { isDigest } from "../../registry/digest.ts";
import type { DatastoreFiles, DatastorePath } from "../../vsphere/contract.ts";

/** One read-only disk, holding some layers on top of its parent's. */
export interface DiskRecord {
  version: 1;
  /** Name of its directory. */
  name: string;
  /** Chain id of the topmost layer in it: what the disk shows. `EMPTY_CHAIN` for a disk without any layer. */
  chainId: string;
  /** Layers in this disk itself, lowest first, with the bytes of file content that each wrote. */
  layers: { diffId: string; chainId: string; bytes: number }[];
  /** Name of the parent disk. */
  parent: string | null;
  /** 1 for a disk without a parent. */
  depth: number;
  capacityBytes: number;
}

export interface ImageRecord {
  version: 1;
  /** Digest of the configuration. */
  id: string;
  /** Name of the image's disk. */
  disk: string;
  /** Bytes of file content of all layers. */
  sizeBytes: number;
  /** RFC 3339; when the image came here. */
  storedAt: string;
  /** Id of the image that this one was made of; it may be gone. */
  parent?: string;
  /** Digest of the build instruction that made it of its parent. */
  buildKey?: string;
  /** Removed by force while stopped containers still need its disks: no longer shown. */
  hidden?: boolean;
}

/** Normalised repository name (`docker.io/library/busybox`) → its tags and digests → image id. */
export interface Repositories {
  version: 1;
  repositories: Record<string, { tags: Record<string, string>; digests: Record<string, string> }>;
  /** Image id → RFC 3339 of the last tag given. */
  lastTagged: Record<string, string>;
}

export const EMPTY_CHAIN = "empty";
export const RECORD_LIMIT_BYTES = 4 * 1024 * 1024;
export const REPOSITORIES_LIMIT_BYTES = 64 * 1024 * 1024;

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function parseDiskRecord(text: string): DiskRecord | undefined {
  const value = parseJson(text);
  const sound =
    isObject(value) &&
    value.version === 1 &&
    typeof value.name === "string" &&
    typeof value.chainId === "string" &&
    Array.isArray(value.layers) &&
    (value.parent === null || typeof value.parent === "string") &&
    typeof value.depth === "number" &&
    typeof value.capacityBytes === "number";
  return sound ? (value as unknown as DiskRecord) : undefined;
}

export function parseImageRecord(text: string): ImageRecord | undefined {
  const value = parseJson(text);
  const sound =
    isObject(value) &&
    value.version === 1 &&
    typeof value.id === "string" &&
    isDigest(value.id) &&
    typeof value.disk === "string" &&
    typeof value.sizeBytes === "number" &&
    typeof value.storedAt === "string";
  return sound ? (value as unknown as ImageRecord) : undefined;
}

export function parseRepositories(text: string): Repositories | undefined {
  const value = parseJson(text);
  if (!isObject(value) || value.version !== 1 || !isObject(value.repositories) || !isObject(value.lastTagged))
    return undefined;
  const sound = Object.values(value.repositories).every(
    (entry) => isObject(entry) && isObject(entry.tags) && isObject(entry.digests),
  );
  return sound ? (value as unknown as Repositories) : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Writes a file so that it is there whole or not at all. */
export async function writeAtomically(files: DatastoreFiles, path: DatastorePath, content: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  await files.write(temporary, content);
  await files.move(temporary, path);
}
