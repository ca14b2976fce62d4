/** An engine in memory, whose containers are processes of this machine. Enough of Docker for API and CLI tests. */
import { createHash, randomBytes } from "node:crypto";
import type {
  ContainerCreateBody,
  DockerEvent,
  Engine,
  ExecConfig,
  PathStat,
  RegistryCredentials,
  Schemas,
} from "../../src/engine/contract.ts";
import { CommandFailed, conflict, EngineError, invalid, notFound } from "../../src/engine/errors.ts";
import { FakeProcess, Queue } from "./fake-process.ts";

interface FakeContainer {
  id: string;
  name: string;
  body: ContainerCreateBody;
  process: FakeProcess;
  created: Date;
  removed: Promise<void>;
  gone(): void;
}

export interface FakeEngine extends Engine {
  find(reference: string): FakeContainer;
  emit(type: DockerEvent["Type"], action: string, id: string, attributes?: Record<string, string>): void;
  pulledWith: (RegistryCredentials | undefined)[];
  pushedWith: (RegistryCredentials | undefined)[];
  loaded: { bytes: number; sha256: string }[];
  /** Builds: what their contexts were, and what was asked for. */
  built: { bytes: number; sha256: string; tags: readonly string[]; hostConfig: object }[];
  written: { path: string; sha256: string; bytes: number }[];
  archives: Map<string, { stat: PathStat; tar: Uint8Array }>;
  /** Filters of the last list or prune. */
  lastFilters: ReadonlyMap<string, readonly string[]> | undefined;
  subscribers: number;
}

export const IMAGE_ID = `sha256:${"a".repeat(64)}`;
const nothing = (): Promise<void> => Promise.resolve();
const id = (): string => randomBytes(32).toString("hex");

export function fakeEngine(): FakeEngine {
  const containers = new Map<string, FakeContainer>();
  const execs = new Map<string, { container: FakeContainer; config: ExecConfig; process: FakeProcess }>();
  const subscribers = new Set<Queue<DockerEvent>>();
  const volumes = new Map<string, Schemas["Volume"]>();

  const find = (reference: string): FakeContainer => {
    for (const container of containers.values()) {
      if (container.name === reference || container.id.startsWith(reference)) return container;
    }
    throw notFound(`No such container: ${reference}`);
  };
  const event = (type: DockerEvent["Type"], action: string, actor: string, attributes: Record<string, string>) => {
    const now = BigInt(Date.now()) * 1_000_000n + 123_457n;
    return {
      Type: type,
      Action: action,
      Actor: { ID: actor, Attributes: attributes },
      scope: "local" as const,
      time: Number(now / 1_000_000_000n),
      timeNano: now,
    };
  };
  const digest = async (stream: AsyncIterable<Uint8Array>): Promise<{ bytes: number; sha256: string }> => {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of stream) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { bytes, sha256: hash.digest("hex") };
  };
  const notInFake = (): never => {
    throw new EngineError("not-implemented", "the fake engine does not do this");
  };

  const engine: FakeEngine = {
    find,
    pulledWith: [],
    pushedWith: [],
    loaded: [],
    built: [],
    written: [],
    archives: new Map(),
    lastFilters: undefined,
    get subscribers() {
      return subscribers.size;
    },
    emit(type, action, actor, attributes = {}) {
      for (const queue of subscribers) void queue.push(event(type, action, actor, attributes));
    },
    containers: {
      async create(name, body) {
        if (body.Image === "missing") throw notFound("No such image: missing:latest");
        if (name !== undefined && [...containers.values()].some((other) => other.name === name)) {
          throw conflict(`Conflict. The container name "/${name}" is already in use`);
        }
        const containerId = id();
        const command = [...(body.Entrypoint ?? []), ...(body.Cmd ?? ["true"])];
        let gone: () => void = () => undefined;
        const removed = new Promise<void>((resolve) => {
          gone = resolve;
        });
        containers.set(containerId, {
          id: containerId,
          name: name ?? `fake_${containerId.slice(0, 6)}`,
          body,
          process: new FakeProcess(command, body.Tty ?? false, body.OpenStdin ?? false),
          created: new Date(),
          removed,
          gone,
        });
        engine.emit("container", "create", containerId, { image: body.Image ?? "" });
        return { Id: containerId, Warnings: [] };
      },
      async list(options) {
        engine.lastFilters = options.filters;
        return [...containers.values()]
          .filter(({ process }) => options.all || process.running)
          .map(({ id: Id, name, body, created, process }) => ({
            Id,
            Names: [`/${name}`],
            Image: body.Image ?? "",
            ImageID: IMAGE_ID,
            Command: (body.Cmd ?? []).join(" "),
            Created: Math.floor(created.getTime() / 1000),
            Ports: [],
            Labels: {},
            State: process.running ? ("running" as const) : ("exited" as const),
            Status: process.running ? "Up 1 second" : "Exited (0) 1 second ago",
            HostConfig: { NetworkMode: "default", Annotations: { a: "b" } },
            NetworkSettings: { Networks: {} },
            Mounts: [],
          }));
      },
      async inspect(reference) {
        const { id: Id, name, body, created, process } = find(reference);
        return {
          Id,
          Created: created.toISOString(),
          Path: body.Cmd?.[0] ?? "",
          Args: body.Cmd?.slice(1) ?? [],
          State: {
            Status: process.running ? "running" : process.exitCode === undefined ? "created" : "exited",
            Running: process.running,
            Paused: false,
            Restarting: false,
            OOMKilled: false,
            Dead: false,
            Pid: process.pid,
            ExitCode: process.exitCode ?? 0,
            Error: "",
            StartedAt: created.toISOString(),
            FinishedAt: created.toISOString(),
          },
          Image: IMAGE_ID,
          Name: `/${name}`,
          RestartCount: 0,
          Driver: "fake",
          Platform: "linux",
          MountLabel: "",
          ProcessLabel: "",
          AppArmorProfile: "",
          LogPath: "",
          ResolvConfPath: "",
          HostnamePath: "",
          HostsPath: "",
          ExecIDs: null,
          HostConfig: { ...body.HostConfig, CgroupnsMode: "private", LogConfig: { Type: "json-file", Config: {} } },
          Mounts: [],
          Config: { ...body, HostConfig: undefined, NetworkingConfig: undefined },
          NetworkSettings: { Networks: { bridge: { IPAddress: "10.9.8.7", IPPrefixLen: 16, Gateway: "10.9.0.1" } } },
        } as Schemas["ContainerInspectResponse"];
      },
      async start(reference) {
        const container = find(reference);
        if (container.process.running) throw new EngineError("not-modified", "already running");
        container.process.start();
        engine.emit("container", "start", container.id, { image: container.body.Image ?? "" });
        void container.process.exited.then((code) => {
          engine.emit("container", "die", container.id, { exitCode: String(code) });
          if (container.body.HostConfig?.AutoRemove) {
            containers.delete(container.id);
            container.gone();
          }
        });
      },
      async stop(reference) {
        const { process } = find(reference);
        if (!process.running) throw new EngineError("not-modified", "not running");
        process.kill("SIGKILL");
        await process.exited;
      },
      async restart(reference) {
        find(reference);
        notInFake();
      },
      async kill(reference, signal) {
        const { process, id: containerId } = find(reference);
        if (!process.running)
          throw conflict(`cannot kill container: ${reference}: container ${containerId} is not running`);
        process.kill((signal ?? "SIGKILL") === "KILL" ? "SIGKILL" : (signal ?? "SIGKILL"));
      },
      async rename(reference, name) {
        find(reference).name = name;
      },
      async wait(reference, condition, signal) {
        const { process, removed } = find(reference);
        const aborted = new Promise<never>((_, reject) => {
          signal.addEventListener("abort", () => reject(new Error("client is gone")));
        });
        aborted.catch(() => undefined);
        const ended = condition === "removed" ? Promise.all([process.exited, removed]) : Promise.all([process.exited]);
        return { result: Promise.race([ended.then(([StatusCode]) => ({ StatusCode })), aborted]) };
      },
      async remove(reference, { force }) {
        const container = find(reference);
        if (container.process.running) {
          if (!force) throw conflict(`cannot remove container "/${container.name}": container is running`);
          container.process.kill("SIGKILL");
          await container.process.exited;
        }
        containers.delete(container.id);
        container.gone();
      },
      async attach(reference, options) {
        return find(reference).process.attach({ input: options.stdin, replay: options.logs });
      },
      async logs(reference, options) {
        const { process } = find(reference);
        async function* entries() {
          const stored = options.tail < 0 ? process.log : options.tail === 0 ? [] : process.log.slice(-options.tail);
          for (const entry of [...stored]) yield entry;
          if (!options.follow || process.exitCode !== undefined) return;
          const live = process.attach({ input: false, replay: false });
          const leave = (): void => live.detach();
          options.signal.addEventListener("abort", leave);
          try {
            for await (const output of live.output)
              yield { ...output, timeNanoseconds: BigInt(Date.now()) * 1_000_000n };
          } finally {
            options.signal.removeEventListener("abort", leave);
          }
        }
        return { terminal: process.terminal, entries: entries() };
      },
      async resize(reference, rows, columns) {
        find(reference).process.resize(rows, columns);
      },
      async top(reference) {
        return { Titles: ["PID", "CMD"], Processes: [[String(find(reference).process.pid), "sh"]] };
      },
      async *stats(reference) {
        const container = find(reference);
        yield { id: container.id, name: container.name, read: new Date().toISOString() };
      },
      async pathStat(reference, path) {
        find(reference);
        const archive = engine.archives.get(path);
        if (archive === undefined) throw notFound(`Could not find the file ${path} in container ${reference}`);
        return archive.stat;
      },
      async readArchive(reference, path) {
        find(reference);
        const archive = engine.archives.get(path);
        if (archive === undefined) throw notFound(`Could not find the file ${path} in container ${reference}`);
        return { stat: archive.stat, tar: new Response(archive.tar.slice()).body ?? new Blob([]).stream() };
      },
      async writeArchive(reference, path, tar) {
        find(reference);
        engine.written.push({ path, ...(await digest(tar)) });
      },
      async export(reference) {
        find(reference);
        return new Blob(["exported"]).stream();
      },
      async pause(reference) {
        find(reference);
      },
      async unpause(reference) {
        find(reference);
      },
      async update(reference) {
        find(reference);
        return { Warnings: [] };
      },
      async changes(reference) {
        find(reference);
        return [
          { Path: "/etc", Kind: 0 },
          { Path: "/etc/new", Kind: 1 },
        ];
      },
      async commit(reference) {
        find(reference);
        return { Id: `sha256:${"c".repeat(64)}` };
      },
      async prune(filters) {
        engine.lastFilters = filters;
        return { ContainersDeleted: [], SpaceReclaimed: 0 };
      },
    },
    execs: {
      async create(reference, config) {
        const container = find(reference);
        if (!container.process.running) throw conflict(`container ${container.id} is not running`);
        const execId = id();
        const process = new FakeProcess(config.Cmd ?? [], config.Tty ?? false, config.AttachStdin ?? false);
        execs.set(execId, { container, config, process });
        return { Id: execId };
      },
      async start(execId, { detach, consoleSize }) {
        const exec = execs.get(execId);
        if (exec === undefined) throw notFound(`No such exec instance: ${execId}`);
        if (exec.config.Cmd?.[0] === "no-such-program") {
          exec.process.exitCode = 127;
          throw invalid('exec: "no-such-program": executable file not found in $PATH');
        }
        if (consoleSize !== undefined) exec.process.resize(consoleSize.rows, consoleSize.columns);
        const stream = exec.process.attach({ input: exec.config.AttachStdin ?? false, replay: false });
        exec.process.start();
        if (detach) stream.detach();
        return detach ? undefined : stream;
      },
      async resize(execId, rows, columns) {
        execs.get(execId)?.process.resize(rows, columns);
      },
      async inspect(execId) {
        const exec = execs.get(execId);
        if (exec === undefined) throw notFound(`No such exec instance: ${execId}`);
        const { process, config, container } = exec;
        return {
          ID: execId,
          ContainerID: container.id,
          Running: process.running,
          ExitCode: process.exitCode ?? null,
          Pid: process.pid,
          CanRemove: false,
          DetachKeys: "",
          OpenStdin: config.AttachStdin ?? false,
          OpenStdout: config.AttachStdout ?? false,
          OpenStderr: config.AttachStderr ?? false,
          ProcessConfig: {
            entrypoint: config.Cmd?.[0] ?? "",
            arguments: config.Cmd?.slice(1) ?? [],
            tty: config.Tty ?? false,
            privileged: false,
          },
        };
      },
    },
    builds: {
      async build({ context, progress, tags, hostConfig }) {
        engine.built.push({ ...(await digest(context)), tags, hostConfig });
        await progress({ stream: "Step 1/1 : FROM shell\n" });
        if (tags.includes("fails")) throw new CommandFailed(42, "The command 'false' returned a non-zero code: 42");
        for (let line = 0; line < 1000; line++) await progress({ stream: `line ${line}\n` });
        await progress({ aux: { ID: IMAGE_ID } });
      },
      async prune() {
        return { CachesDeleted: [IMAGE_ID], SpaceReclaimed: 7 };
      },
    },
    images: {
      async pull(reference, { tag, credentials, progress }) {
        engine.pulledWith.push(credentials);
        if (reference.endsWith("missing"))
          throw notFound(`manifest for ${reference}:latest not found: manifest unknown`);
        progress({ status: `Pulling from ${reference}`, id: tag ?? "latest" });
        if (reference.endsWith("broken")) throw new EngineError("internal", "layer digest does not match");
        progress({ status: "Downloading", id: "abc", progressDetail: { current: 1, total: 2 } });
        progress({ status: `Status: Downloaded newer image for ${reference}:${tag ?? "latest"}` });
      },
      async load(tar, { progress }) {
        const loaded = await digest(tar);
        engine.loaded.push(loaded);
        progress({ stream: `Loaded image: sum-${loaded.sha256}\n` });
      },
      async push(repository, { tag, credentials, progress }) {
        engine.pushedWith.push(credentials);
        progress({ status: `The push refers to repository [docker.io/library/${repository}]` });
        if (repository.endsWith("missing"))
          throw notFound(`An image does not exist locally with the tag: ${repository}`);
        progress({ status: `${tag ?? "latest"}: digest: ${IMAGE_ID} size: 7` });
        progress({ progressDetail: {}, aux: { Tag: tag ?? "latest", Digest: IMAGE_ID, Size: 7 } });
      },
      async save(names) {
        if (names.some((name) => name.includes("missing"))) throw notFound("reference does not exist");
        return (async function* () {
          yield new TextEncoder().encode(names.join(" "));
        })();
      },
      async search(term) {
        return [{ name: term, description: "", star_count: 1, is_official: true, is_automated: false }];
      },
      async distribution(reference) {
        if (reference.includes("missing")) throw notFound("manifest unknown");
        return {
          Descriptor: { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: IMAGE_ID, size: 7 },
          Platforms: [{ os: "linux", architecture: "amd64" }],
        };
      },
      async import(source, { progress }) {
        if ("url" in source) throw notInFake();
        const loaded = await digest(source);
        engine.loaded.push(loaded);
        progress({ status: `sha256:${loaded.sha256}` });
      },
      async list({ filters }) {
        engine.lastFilters = filters;
        return [
          {
            Id: IMAGE_ID,
            ParentId: "",
            RepoTags: ["shell:latest"],
            RepoDigests: [],
            Created: 1700000000,
            Size: 7,
            SharedSize: -1,
            Labels: {},
            Containers: 0,
          },
        ];
      },
      async inspect(reference) {
        if (reference.includes("missing")) throw notFound(`No such image: ${reference}`);
        return {
          Id: IMAGE_ID,
          RepoTags: [reference],
          RepoDigests: [],
          Created: "2026-01-01T00:00:00Z",
          Architecture: "amd64",
          Os: "linux",
          Size: 7,
          Config: { Cmd: ["sh"], ArgsEscaped: false },
          RootFS: { Type: "layers", Layers: [] },
          GraphDriver: { Name: "fake", Data: {} },
          Metadata: { LastTagTime: "2026-01-01T00:00:00Z" },
        };
      },
      async history() {
        return [{ Id: IMAGE_ID, Created: 1700000000, CreatedBy: "sh", Tags: ["shell:latest"], Size: 7, Comment: "" }];
      },
      tag: nothing,
      async remove(reference) {
        return [{ Untagged: reference }];
      },
      async prune(filters) {
        engine.lastFilters = filters;
        return { ImagesDeleted: [], SpaceReclaimed: 0 };
      },
    },
    volumes: {
      async create({ Name = id(), Driver = "local", Labels = {}, DriverOpts = {} }) {
        const volume: Schemas["Volume"] = {
          Name,
          Driver,
          Labels,
          Options: DriverOpts,
          Mountpoint: "",
          Scope: "local",
          CreatedAt: new Date().toISOString(),
        };
        volumes.set(Name, volume);
        return volume;
      },
      async list(filters) {
        engine.lastFilters = filters;
        return [...volumes.values()];
      },
      async inspect(name) {
        const volume = volumes.get(name);
        if (volume === undefined) throw notFound(`get ${name}: no such volume`);
        return volume;
      },
      async remove(name, { force }) {
        if (!volumes.delete(name) && !force) throw notFound(`get ${name}: no such volume`);
      },
      async prune(filters) {
        engine.lastFilters = filters;
        return { VolumesDeleted: [], SpaceReclaimed: 0 };
      },
    },
    networks: {
      async list() {
        return [fakeNetwork()];
      },
      async inspect(reference) {
        if (reference !== "bridge") throw notFound(`network ${reference} not found`);
        return fakeNetwork();
      },
      async create({ Name }) {
        if (Name === "bridge") throw conflict("network with name bridge already exists");
        return { Id: id(), Warning: "" };
      },
      remove: nothing,
      connect: nothing,
      disconnect: nothing,
      async prune() {
        return { NetworksDeleted: [] };
      },
    },
    events: {
      async *subscribe({ until, signal }) {
        if (until !== undefined && until < BigInt(Date.now()) * 1_000_000n) return;
        const queue = new Queue<DockerEvent>();
        subscribers.add(queue);
        const leave = (): void => queue.close();
        signal.addEventListener("abort", leave);
        try {
          yield* queue;
        } finally {
          signal.removeEventListener("abort", leave);
          subscribers.delete(queue);
        }
      },
    },
    system: {
      recentRuns: () => [{ container: "0".repeat(64), name: "fake", steps: { start: 1 }, guest: {} }],
      async info() {
        return {
          ID: "fake",
          Containers: containers.size,
          Images: 1,
          Driver: "fake",
          OSType: "linux",
          Architecture: "x86_64",
          NCPU: 2,
          MemTotal: 1,
          Name: "fake",
          ServerVersion: "0.0.1",
        } as Schemas["SystemInfo"];
      },
      async version() {
        return {
          Version: "0.0.1",
          GitCommit: "fake",
          BuildTime: "2026-01-01T00:00:00Z",
          KernelVersion: "6",
          Os: "linux",
          Arch: "amd64",
        };
      },
      async diskUsage(types) {
        const images = await engine.images.list({ all: false, digests: false, filters: new Map() });
        return {
          LayersSize: 7,
          Images: types.includes("image") ? images : null,
          Containers: types.includes("container") ? [{ Id: "c", State: "exited", SizeRw: 5, SizeRootFs: 12 }] : null,
          Volumes: null,
          BuildCache: [],
        };
      },
      async authenticate({ username, password }) {
        if (username !== "ada" || password !== "secret")
          throw new EngineError("unauthorized", "incorrect username or password");
        return { Status: "Login Succeeded" };
      },
    },
    close: nothing,
  };
  return engine;
}

function fakeNetwork(): Schemas["NetworkInspect"] {
  return {
    Name: "bridge",
    Id: "b".repeat(64),
    Created: "2026-01-01T00:00:00Z",
    Scope: "local",
    Driver: "bridge",
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: "default", Options: {}, Config: [{ Subnet: "10.9.0.0/16", Gateway: "10.9.0.1" }] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: {},
    Options: {},
    Labels: {},
  };
}
