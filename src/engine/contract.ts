/**
 * The engine as the Docker API sees it: the domain, with Docker's own shapes and words, and no HTTP.
 * Every method throws EngineError. `reference` is a container's full id, unique id prefix or name.
 */
import type { components, operations } from "./docker-types.generated.ts";

export type Schemas = components["schemas"];
export type ContainerConfig = Schemas["ContainerConfig"];
export type HostConfig = Schemas["HostConfig"];
export type NetworkingConfig = Schemas["NetworkingConfig"];
export type ContainerCreateBody = ContainerConfig & { HostConfig?: HostConfig; NetworkingConfig?: NetworkingConfig };
export type NetworkCreateBody = NonNullable<operations["NetworkCreate"]["requestBody"]>["content"]["application/json"];
export type ExecConfig = NonNullable<operations["ContainerExec"]["requestBody"]>["content"]["application/json"];

/** Docker's `filters` parameter, decoded: name → values. */
export type Filters = ReadonlyMap<string, readonly string[]>;

/** A two-way stdio conversation: attach or exec start. */
export interface StdioStream {
  /** True when the process has a terminal: output is raw, not multiplexed. */
  readonly terminal: boolean;
  /** Output in order; ends when the process has ended and everything was delivered. */
  readonly output: AsyncIterable<{ stream: 1 | 2; bytes: Uint8Array }>;
  /** Resolves when the bytes are accepted (back-pressure). */
  write(bytes: Uint8Array): Promise<void>;
  /** Half-close stdin. */
  endInput(): Promise<void>;
  /** Leave without touching the process. */
  detach(): void;
}

export interface AttachOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** Keep following (attach?stream=1). */
  stream: boolean;
  /** Replay what was logged before (attach?logs=1). */
  logs: boolean;
}

export interface LogOptions {
  stdout: boolean;
  stderr: boolean;
  follow: boolean;
  /** Nanoseconds since the epoch. */
  since?: bigint;
  until?: bigint;
  /** Number of lines; -1 for all. */
  tail: number;
  signal: AbortSignal;
}

export interface LogEntry {
  stream: 1 | 2;
  timeNanoseconds: bigint;
  bytes: Uint8Array;
}

export type WaitCondition = "not-running" | "next-exit" | "removed";

/** A line of `docker diff`. Kind: 0 modified, 1 added, 2 deleted. */
export interface FilesystemChange {
  Path: string;
  Kind: 0 | 1 | 2;
}

export interface CommitOptions {
  repository: string | undefined;
  tag: string | undefined;
  author: string | undefined;
  comment: string | undefined;
  /** Let the processes stand still meanwhile. */
  pause: boolean;
  /** Dockerfile instructions. */
  changes: string[];
  config: Partial<ContainerConfig>;
}

/** Body of a container update: resources and restart policy. */
export type ContainerUpdateBody = Partial<Schemas["Resources"]> & { RestartPolicy?: Schemas["RestartPolicy"] };

/** Docker's X-Docker-Container-Path-Stat. */
export interface PathStat {
  name: string;
  size: number;
  mode: number;
  mtime: string;
  linkTarget: string;
}

export interface Containers {
  create(
    name: string | undefined,
    body: ContainerCreateBody,
    platform?: string,
  ): Promise<{ Id: string; Warnings: string[] }>;
  list(options: {
    all: boolean;
    limit?: number;
    size: boolean;
    filters: Filters;
  }): Promise<Schemas["ContainerSummary"][]>;
  inspect(reference: string, options: { size: boolean }): Promise<Schemas["ContainerInspectResponse"]>;
  start(reference: string): Promise<void>;
  stop(reference: string, options: { timeoutSeconds?: number; signal?: string }): Promise<void>;
  restart(reference: string, options: { timeoutSeconds?: number; signal?: string }): Promise<void>;
  kill(reference: string, signal: string | undefined): Promise<void>;
  rename(reference: string, name: string): Promise<void>;
  /** The outer promise resolves once waiting is set up (Docker then sends the headers), `result` when the condition holds. */
  wait(
    reference: string,
    condition: WaitCondition,
    signal: AbortSignal,
  ): Promise<{ result: Promise<{ StatusCode: number; Error?: { Message: string } }> }>;
  remove(reference: string, options: { force: boolean; volumes: boolean; link: boolean }): Promise<void>;
  attach(reference: string, options: AttachOptions): Promise<StdioStream>;
  /** `attributes` go with every entry: labels and such that the log driver was asked to keep. */
  logs(
    reference: string,
    options: LogOptions,
  ): Promise<{ terminal: boolean; attributes?: Record<string, string>; entries: AsyncIterable<LogEntry> }>;
  resize(reference: string, rows: number, columns: number): Promise<void>;
  top(reference: string, psArguments: string): Promise<{ Titles: string[]; Processes: string[][] }>;
  /** One sample a second until aborted, or one sample when `stream` is false. */
  stats(
    reference: string,
    options: { stream: boolean; oneShot: boolean; signal: AbortSignal },
  ): AsyncIterable<Record<string, unknown>>;
  pathStat(reference: string, path: string): Promise<PathStat>;
  readArchive(reference: string, path: string): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }>;
  writeArchive(
    reference: string,
    path: string,
    tar: ReadableStream<Uint8Array>,
    options: { noOverwriteDirNonDir: boolean; copyOwner: boolean },
  ): Promise<void>;
  export(reference: string): Promise<ReadableStream<Uint8Array>>;
  pause(reference: string): Promise<void>;
  unpause(reference: string): Promise<void>;
  update(reference: string, body: ContainerUpdateBody): Promise<{ Warnings: string[] }>;
  changes(reference: string): Promise<FilesystemChange[]>;
  /** A new image of the container; see CommitOptions. */
  commit(reference: string, options: CommitOptions): Promise<{ Id: string }>;
  prune(filters: Filters): Promise<{ ContainersDeleted: string[]; SpaceReclaimed: number }>;
}

export interface Execs {
  create(containerReference: string, config: ExecConfig): Promise<{ Id: string }>;
  /** Detached start resolves when the process runs; otherwise with its stdio. */
  start(
    id: string,
    options: { detach: boolean; terminal: boolean; consoleSize?: { rows: number; columns: number } },
  ): Promise<StdioStream | undefined>;
  resize(id: string, rows: number, columns: number): Promise<void>;
  inspect(id: string): Promise<Record<string, unknown>>;
}

/** One line of pull, load or import progress (Docker's JSON message). */
export type ProgressMessage = {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  progress?: string;
  stream?: string;
  error?: string;
  errorDetail?: { message: string };
  /** What a program reads: of a push, the digest. */
  aux?: Record<string, unknown>;
};
export type ProgressSink = (message: ProgressMessage) => void;

export interface RegistryCredentials {
  username?: string;
  password?: string;
  identitytoken?: string;
  registrytoken?: string;
  serveraddress?: string;
}

export interface Images {
  /** Errors before the first progress line are thrown; later ones also (the API turns them into an error line). */
  pull(
    reference: string,
    options: {
      tag?: string;
      platform?: string;
      credentials?: RegistryCredentials;
      progress: ProgressSink;
      signal: AbortSignal;
    },
  ): Promise<void>;
  load(
    tar: ReadableStream<Uint8Array>,
    /** `platform` of an archive that holds several. */
    options: { platform?: string; quiet: boolean; progress: ProgressSink; signal: AbortSignal },
  ): Promise<void>;
  /** `tag` undefined pushes every tag of the repository. */
  push(
    repository: string,
    options: {
      tag?: string;
      platform?: string;
      credentials?: RegistryCredentials;
      progress: ProgressSink;
      signal: AbortSignal;
    },
  ): Promise<void>;
  /** An archive that `load` takes, here and on other engines. Looks everything up before it resolves. */
  save(names: readonly string[], options: { platform?: string }): Promise<AsyncIterable<Uint8Array>>;
  search(
    term: string,
    options: { limit: number; filters: Filters; credentials?: RegistryCredentials; signal: AbortSignal },
  ): Promise<Record<string, unknown>[]>;
  /** What a registry has under this name; nothing is stored. */
  distribution(
    reference: string,
    options: { credentials?: RegistryCredentials; signal: AbortSignal },
  ): Promise<Schemas["DistributionInspect"]>;
  /** A tar, or where to get it from. */
  import(
    source: ReadableStream<Uint8Array> | { url: string },
    options: {
      repository?: string;
      tag?: string;
      message?: string;
      changes: string[];
      platform?: string;
      progress: ProgressSink;
      signal: AbortSignal;
    },
  ): Promise<void>;
  list(options: { all: boolean; digests: boolean; filters: Filters }): Promise<Schemas["ImageSummary"][]>;
  /** `platform` other than the image's own is not found. */
  inspect(reference: string, options?: { platform?: string }): Promise<Schemas["ImageInspect"]>;
  history(reference: string, options?: { platform?: string }): Promise<Record<string, unknown>[]>;
  tag(reference: string, repository: string, tag: string | undefined): Promise<void>;
  remove(
    reference: string,
    options: { force: boolean; noPrune: boolean; platforms?: readonly string[] },
  ): Promise<Schemas["ImageDeleteResponseItem"][]>;
  prune(filters: Filters): Promise<{ ImagesDeleted: Schemas["ImageDeleteResponseItem"][]; SpaceReclaimed: number }>;
}

/** What a build's request asks for; fields as in Docker's ImageBuild operation. */
export interface BuildOptions {
  /** A tar of the context, compressed or not. */
  context: AsyncIterable<Uint8Array>;
  /** URL of an archive or a Dockerfile instead of `context`. */
  remote: string | undefined;
  /** Path in the context. */
  dockerfile: string;
  tags: readonly string[];
  quiet: boolean;
  noCache: boolean;
  /** Ask the registry for every base image. */
  pull: boolean;
  /** Remove intermediate containers after a success, and after a failure too. */
  removeIntermediate: boolean;
  forceRemove: boolean;
  /** An argument without a value takes none. */
  buildArguments: ReadonlyMap<string, string | null>;
  labels: Readonly<Record<string, string>>;
  cacheFrom: readonly string[];
  target: string | undefined;
  platform: string | undefined;
  /** Limits, network and the like of the containers that RUN uses. */
  hostConfig: Partial<HostConfig>;
  /** By registry, as `docker login` names it. */
  credentials: ReadonlyMap<string, RegistryCredentials>;
  /** Resolves when the client may get more. */
  progress: (message: ProgressMessage) => Promise<void>;
  signal: AbortSignal;
}

export interface Builds {
  /** Rejects with CommandFailed when a RUN fails. */
  build(options: BuildOptions): Promise<void>;
  /** Forgets steps that no named image needs. */
  prune(filters: Filters): Promise<{ CachesDeleted: string[]; SpaceReclaimed: number }>;
}

export interface Volumes {
  create(options: Schemas["VolumeCreateRequest"]): Promise<Schemas["Volume"]>;
  list(filters: Filters): Promise<Schemas["Volume"][]>;
  inspect(name: string): Promise<Schemas["Volume"]>;
  remove(name: string, options: { force: boolean }): Promise<void>;
  prune(filters: Filters): Promise<{ VolumesDeleted: string[]; SpaceReclaimed: number }>;
}

export interface Networks {
  list(filters: Filters): Promise<Schemas["NetworkInspect"][]>;
  inspect(reference: string, options: { verbose: boolean; scope?: string }): Promise<Schemas["NetworkInspect"]>;
  create(options: NetworkCreateBody): Promise<{ Id: string; Warning: string }>;
  remove(reference: string): Promise<void>;
  connect(reference: string, container: string, endpoint: Schemas["EndpointSettings"] | undefined): Promise<void>;
  disconnect(reference: string, container: string, force: boolean): Promise<void>;
  prune(filters: Filters): Promise<{ NetworksDeleted: string[] }>;
}

export interface DockerEvent {
  Type: "container" | "image" | "volume" | "network" | "daemon";
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: "local";
  time: number;
  timeNano: bigint;
}

export interface Events {
  /** Replays from `since`, then follows until `until` or abort. */
  subscribe(options: {
    since?: bigint;
    until?: bigint;
    filters: Filters;
    signal: AbortSignal;
  }): AsyncIterable<DockerEvent>;
}

/** Times of one run of a container: where its start and its end spent theirs. */
export interface RunTimes {
  /** The container's id. */
  container: string;
  name: string;
  /** Milliseconds since the epoch, by step; see `Step` in containers/timeline.ts. */
  steps: Record<string, number>;
  /** The guest's own count: milliseconds since its kernel started, by phase. */
  guest: Record<string, number>;
}

export interface System {
  /** The last runs that were started by this process, oldest first. */
  recentRuns(): RunTimes[];
  info(): Promise<Schemas["SystemInfo"]>;
  /** Name, versions and so on of the engine, without what the API layer knows itself (ApiVersion, MinAPIVersion). */
  version(): Promise<{
    Version: string;
    GitCommit: string;
    BuildTime: string;
    KernelVersion: string;
    Os: string;
    Arch: string;
  }>;
  diskUsage(types: readonly string[]): Promise<Record<string, unknown>>;
  /** Check registry credentials (docker login). */
  authenticate(credentials: RegistryCredentials): Promise<{ Status: string; IdentityToken?: string }>;
}

export interface Engine {
  containers: Containers;
  execs: Execs;
  images: Images;
  builds: Builds;
  volumes: Volumes;
  networks: Networks;
  events: Events;
  system: System;
  /** Let go of everything without touching any container. */
  close(): Promise<void>;
}
