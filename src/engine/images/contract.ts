/** What containers need of the image store. */
import type { DatastorePath } from "../../vsphere/contract.ts";

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
  tar: AsyncIterable<Uint8Array>;
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

/** What the image store needs to know of containers, given by the engine. */
export interface ImageUsage {
  /** Containers made from this image. */
  containersOf(imageId: string): { id: string; name: string; running: boolean }[];
}
