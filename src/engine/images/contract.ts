/** What containers need of the image store. */
import type { FileStat } from "../../link/operations.ts";
import type { DatastorePath } from "../../vsphere/contract.ts";
import type { ImageConfiguration } from "./image-config.ts";

/** The `config` object of an image (Docker's and OCI's image configuration), as far as containers use it. */
export interface ImageRuntimeConfig {
  User?: string;
  ExposedPorts?: Record<string, object>;
  Env?: string[];
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Volumes?: Record<string, object> | null;
  WorkingDir?: string;
  Labels?: Record<string, string> | null;
  StopSignal?: string;
  StopTimeout?: number;
  Shell?: string[];
  Healthcheck?: {
    Test?: string[];
    Interval?: number;
    Timeout?: number;
    StartPeriod?: number;
    StartInterval?: number;
    Retries?: number;
  };
}

export interface StoredImage {
  /** `sha256:…` of the image configuration. */
  id: string;
  architecture: string;
  os: string;
  config: ImageRuntimeConfig;
  /** Leaf of the read-only disk hierarchy; parent of a container's RW disk. */
  disk: { path: DatastorePath; capacityBytes: number };
  sizeBytes: number;
}

export interface ImageStore {
  /** By tag, digest, id or unique id prefix; throws EngineError not-found with Docker's text (`No such image: …`). */
  resolve(reference: string): Promise<StoredImage>;
  /** Keep an image's disks from being removed while a container is made from it. Released by the returned function. */
  hold(imageId: string): () => void;
  /** The disk of an image by its id, hidden ones included: what the RW disks of its containers stand on. */
  diskOf(imageId: string): DatastorePath;
  /** A new image: `parent`'s layers and one more. Answers its id, and its name when it was given one. */
  addLayer(layer: NewLayer): Promise<{ id: string; reference?: string }>;
}

/** What `docker commit` adds to an image. */
export interface NewLayer {
  /** Id of the image below; it must be held. */
  parent: string;
  /** An OCI layer, uncompressed. */
  tar: LayerContentSource;
  config: ImageRuntimeConfig;
  /** Dockerfile instructions that change `config`. */
  changes: readonly string[];
  author: string | undefined;
  comment: string | undefined;
  /** The command that made the layer, for the image's history. */
  createdBy: string;
  repository: string | undefined;
  tag: string | undefined;
}

/** The content of a layer, or what makes it with a look at the files that the layer will lie over. */
export type LayerContentSource = AsyncIterable<Uint8Array> | ((below: LayerBelow) => AsyncIterable<Uint8Array>);

/** The files of the image that a layer is being added to. */
export interface LayerBelow {
  /** Of the path itself when it is a symlink; those on the way are followed. Undefined when nothing is there. */
  stat(path: string): Promise<FileStat | undefined>;
  /** A tar of the path. Read it to its end, or leave its loop. */
  archive(path: string): AsyncIterable<Uint8Array>;
}

/** The image store as builds use it: every step is an image, found again by what made it. */
export interface BuildSteps {
  /** Throws EngineError not-found. */
  configurationOf(imageId: string): ImageConfiguration;
  /** The newest image that this step made of this parent. */
  cached(parent: string | undefined, buildKey: string): string | undefined;
  /** The same, out of the history of other images (--cache-from), which must be held. May have to make disks. */
  cachedFrom(request: CachedStepRequest, signal: AbortSignal): Promise<string | undefined>;
  /** Answers the id; `announce` is called with it before others can see the image. */
  add(step: BuildStep, signal: AbortSignal): Promise<string>;
  /** Reads files of an image's disk while `work` runs. */
  withFiles<T>(imageId: string, work: (files: LayerBelow) => Promise<T>): Promise<T>;
  /** Images of steps that have no name and are not used by containers. Answers what was deleted and the bytes that came free. */
  prune(chosen: (image: BuildStepImage) => boolean): Promise<{ deleted: string[]; bytes: number }>;
}

export interface CachedStepRequest {
  parent: string | undefined;
  createdBy: string;
  buildKey: string;
  config: ImageConfiguration["config"];
  /** Ids of the images to look in. */
  sources: readonly string[];
  announce(id: string): void;
}

export interface BuildStepImage {
  id: string;
  parent: string | undefined;
  createdBy: string;
  /** Nanoseconds since the epoch. */
  created: bigint;
}

export interface BuildStep {
  /** Id of the image below, which must be held; undefined for FROM scratch. */
  parent: string | undefined;
  /** Undefined when only the configuration changes. */
  tar: LayerContentSource | undefined;
  config: ImageConfiguration["config"];
  author: string | undefined;
  createdBy: string;
  buildKey: string;
  announce(id: string): void;
}

/** What the image store needs to know of containers, given by the engine. */
export interface ImageUsage {
  /** Containers made from this image. */
  containersOf(imageId: string): { id: string; name: string; running: boolean }[];
}
