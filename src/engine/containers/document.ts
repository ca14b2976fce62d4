/**
 * What vSphere keeps of a container: two JSON documents in its VM's extraConfig that the guest cannot see.
 * `vch.container.*` is what the container is; `vch.state` is how its last run ended.
 */

import type { DiskAddress } from "../../link/guest-configuration.ts";
import type { TransportProtocol } from "../../network/contract.ts";
import type { DatastorePath } from "../../vsphere/contract.ts";
import type { ContainerConfig, HostConfig, Schemas } from "../contract.ts";
import { invalid } from "../errors.ts";
import { DOCUMENT_LIMIT, EXTRA_CONFIG_CHUNK } from "../limits.ts";

/** Number of chunks of the container document, decimal. */
export const DOCUMENT_CHUNKS_KEY = "vch.container.chunks";
export const documentChunkKey = (index: number): string => `vch.container.${index}`;
export const RUN_KEY = "vch.state";
/** Set before a container is taken apart, so that a removal cut off half-way is finished. */
export const REMOVING_KEY = "vch.removing";
/** Marks a loader VM. */
export const LOADER_KEY = "vch.loader";

/** One place of a volume inside the container. */
export interface VolumeMount {
  type: "volume";
  name: string;
  driver: string;
  anonymous: boolean;
  destination: string;
  readOnly: boolean;
  copyUp: boolean;
  subpath?: string;
  /** As inspect shows it: the third part of -v. */
  mode: string;
  disk: DiskAddress;
  path: DatastorePath;
}

/** A path of the endpoint's machine. */
export interface BindMount {
  type: "bind";
  source: string;
  /** What the source was at create or at the last start. */
  kind: "directory" | "file" | "socket";
  destination: string;
  readOnly: boolean;
  createSource: boolean;
  nonRecursive: boolean;
  propagation: string;
  mode: string;
  /** Permissions and owner of a socket. */
  socketFile?: { mode: number; uid: number; gid: number };
}

export interface TmpfsMount {
  type: "tmpfs";
  destination: string;
  readOnly: boolean;
  sizeBytes?: number;
  mode?: number;
  options: string[];
}

/** Files of an image on a disk of the container's own that is a child of the image's: writable, and gone with the container. */
export interface ImageMount {
  type: "image";
  /** As the client named it. */
  reference: string;
  imageId: string;
  destination: string;
  readOnly: boolean;
  subpath?: string;
  disk: DiskAddress;
  path: DatastorePath;
}

export type MountRecord = VolumeMount | TmpfsMount | ImageMount | BindMount;

/** A container's place on one network. It keeps its address for as long as it exists. */
export interface EndpointRecord {
  networkId: string;
  endpointId: string;
  macAddress: string;
  address: string;
  prefixLength: number;
  gateway: string;
  /** On a network with IPv6. */
  ipv6?: { address: string; prefixLength: number; gateway: string };
  /** On a container network. */
  external?: boolean;
  /** Its address comes by DHCP and is empty here. */
  dynamic?: boolean;
  /** In the guest. Documents of earlier versions have one endpoint, on eth0. */
  interfaceName?: string;
  /** As the client asked for it. */
  given: Partial<Schemas["EndpointSettings"]>;
}

/** A port to publish, as asked; `hostPort` 0 asks for any. */
export interface PortMapping {
  containerPort: number;
  protocol: TransportProtocol;
  hostAddress: string;
  hostPort: { first: number; last: number } | undefined;
}

export interface ControlAdapter {
  macAddress: string;
  address: string;
  networkId?: string;
}

export interface ContainerDocument {
  version: 1;
  id: string;
  name: string;
  /** RFC 3339 with nanoseconds. */
  created: string;
  /** Name of the bootstrap ISO; documents of earlier versions know one only. */
  iso?: string;
  image: { reference: string; id: string; architecture: string; os: string; sizeBytes: number };
  /** With the image's configuration merged in: what really holds, and what inspect shows. */
  config: Partial<ContainerConfig>;
  hostConfig: Partial<HostConfig>;
  /** The whole command line. */
  command: string[];
  /** By network name. */
  endpoints: Record<string, EndpointRecord>;
  /**
   * The vNIC that the control link uses: the first network's, or a hidden one that a container without networks has where there
   * is no serial carrier. On the default bridge when no network is named. None: the link goes over a serial port of the VM.
   */
  control?: ControlAdapter;
  ports: PortMapping[];
  mounts: MountRecord[];
  /** Proves to the engine that the VM on the control link is this one. */
  token: string;
  capabilities: string[];
  /** Of a build's RUN that has not ended: the next start removes it. */
  intermediate?: boolean;
  /** docker update has changed the limits: the VM gets its new size at the next start. */
  resized?: boolean;
}

/** How the last run ended; also the mark that there was one. */
export interface RunRecord {
  version: 1;
  /** `started`: a run began and its end is not recorded yet. */
  status: "started" | "exited" | "failed";
  /** GuestState.boot of the run. */
  boot?: string;
  startedAt?: string;
  finishedAt?: string;
  exitCode?: number;
  error?: string;
  oomKilled?: boolean;
  restartCount?: number;
  /** A user stopped it: `unless-stopped` and `on-failure` do not start it again. */
  stopped?: boolean;
}

/** The document as extraConfig entries. Entries of a longer earlier version are deleted by empty values. */
export function encodeDocument(document: ContainerDocument, previousChunks = 0): Record<string, string> {
  const text = JSON.stringify(document);
  if (text.length > DOCUMENT_LIMIT)
    throw invalid(
      `the container's configuration is ${text.length} characters long and vSphere keeps at most ${DOCUMENT_LIMIT}: shorten environment, labels or command`,
    );
  const entries: Record<string, string> = {};
  const chunks = Math.ceil(text.length / EXTRA_CONFIG_CHUNK);
  for (let index = 0; index < Math.max(chunks, previousChunks); index++)
    entries[documentChunkKey(index)] = text.slice(index * EXTRA_CONFIG_CHUNK, (index + 1) * EXTRA_CONFIG_CHUNK);
  entries[DOCUMENT_CHUNKS_KEY] = String(chunks);
  return entries;
}

export function documentChunks(extraConfig: ReadonlyMap<string, string>): number {
  const text = extraConfig.get(DOCUMENT_CHUNKS_KEY) ?? "";
  return /^\d{1,2}$/.test(text) ? Number(text) : 0;
}

/** The document of a container VM; undefined when the VM is none of ours. Throws with the reason when it is damaged. */
export function decodeDocument(extraConfig: ReadonlyMap<string, string>): ContainerDocument | undefined {
  const chunks = documentChunks(extraConfig);
  if (chunks === 0) return undefined;
  let text = "";
  for (let index = 0; index < chunks; index++) {
    const chunk = extraConfig.get(documentChunkKey(index));
    if (chunk === undefined) throw new Error(`${documentChunkKey(index)} is missing`);
    text += chunk;
  }
  const document = JSON.parse(text) as ContainerDocument;
  if (document.version !== 1) throw new Error(`version ${document.version} of ${documentChunkKey(0)} is not known`);
  return document;
}

/** The record of the last run, or undefined when there was none. A damaged one counts as a run with unknown end. */
export function decodeRun(extraConfig: ReadonlyMap<string, string>): RunRecord | undefined {
  const text = extraConfig.get(RUN_KEY);
  if (text === undefined || text === "") return undefined;
  try {
    return JSON.parse(text) as RunRecord;
  } catch (error) {
    if (error instanceof SyntaxError) return { version: 1, status: "started" };
    throw error;
  }
}
