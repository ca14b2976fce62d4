/** `docker info`, `version` and `system df`. */

import { volumeMounts } from "../containers/container-events.ts";
import { summarize } from "../containers/inspect.ts";
import { createdAt } from "../containers/list.ts";
import { LOG_DRIVERS } from "../containers/log-options.ts";
import { containerSizes } from "../containers/sizes-on-disk.ts";
import type { EngineContext } from "../context.ts";
import type { Images, RegistryCredentials, Schemas, System } from "../contract.ts";
import { idOf } from "../identifiers.ts";
import { BUILT_IN_ISO } from "../isos/record.ts";
import { VSPHERE_CONCURRENCY } from "../limits.ts";
import { formatTime, nowNanoseconds } from "../time.ts";
import { describeVolume } from "../volumes/store.ts";
import { Semaphore } from "../waiting.ts";

export interface BuildInformation {
  version: string;
  commit: string;
  built: string;
}

export interface SystemParts {
  images: Images;
  build: BuildInformation;
  insecureRegistries: readonly string[];
  mirrors: readonly string[];
  authenticate(credentials: RegistryCredentials): Promise<{ Status: string; IdentityToken?: string }>;
}

const ARCHITECTURE = "x86_64";

export function makeSystem(context: EngineContext, parts: SystemParts): System {
  return {
    recentRuns: () => context.recentRuns.list(),
    info: () => info(context, parts),
    version: async () => ({
      Version: parts.build.version,
      GitCommit: parts.build.commit,
      BuildTime: parts.build.built,
      KernelVersion: context.vsphere.about.fullName,
      Os: "linux",
      Arch: "amd64",
    }),
    diskUsage: (types) => diskUsage(context, parts.images, types),
    authenticate: (credentials) => parts.authenticate(credentials),
  };
}

async function info(context: EngineContext, parts: SystemParts): Promise<Schemas["SystemInfo"]> {
  const { table, vsphere, capacity } = context;
  const count = (...states: string[]): number => table.all().filter(({ status }) => states.includes(status)).length;
  const [images, space, isos] = await Promise.all([
    parts.images.list({ all: false, digests: false, filters: new Map() }),
    vsphere.files.space(),
    runtimes(context),
  ]);
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  return {
    ID: uuid(idOf("vch", context.name, vsphere.about.instanceUuid)),
    Containers: table.all().length,
    ContainersRunning: count("running", "restarting"),
    ContainersPaused: count("paused"),
    ContainersStopped: count("created", "exited", "dead", "removing"),
    Images: images.length,
    Driver: "vmdk",
    DriverStatus: [
      ["vSphere", vsphere.about.fullName],
      ["API version", vsphere.about.apiVersion],
      ["Hosts", String(capacity.hosts)],
      [
        "Datastore",
        `${vsphere.files.datastore}: ${gigabytes(space.freeBytes)} of ${gigabytes(space.capacityBytes)} free`,
      ],
      ["Bridge network", `${context.networks.portGroup} ${context.networks.block.subnet}`],
      ["Container limit", context.containerLimit === 0 ? "none" : String(context.containerLimit)],
    ],
    DockerRootDir: context.paths.root,
    Plugins: {
      Volume: ["local", "vsphere"],
      Network: ["bridge", "null"],
      Authorization: [],
      Log: [...LOG_DRIVERS],
    },
    MemoryLimit: true,
    SwapLimit: false,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: false,
    PidsLimit: true,
    OomKillDisable: false,
    IPv4Forwarding: true,
    Debug: false,
    NFd: 0,
    NGoroutines: 0,
    SystemTime: formatTime(nowNanoseconds()),
    LoggingDriver: "json-file",
    CgroupDriver: "none",
    CgroupVersion: "2",
    NEventsListener: context.events.listeners,
    KernelVersion: vsphere.about.fullName,
    OperatingSystem: vsphere.about.fullName,
    OSVersion: vsphere.about.apiVersion,
    OSType: "linux",
    Architecture: ARCHITECTURE,
    NCPU: capacity.cpus,
    MemTotal: capacity.memoryBytes,
    IndexServerAddress: "https://index.docker.io/v1/",
    RegistryConfig: registryConfig(parts),
    GenericResources: [],
    HttpProxy: "",
    HttpsProxy: "",
    NoProxy: "",
    Name: context.name,
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: parts.build.version,
    Runtimes: isos.runtimes,
    DefaultRuntime: isos.defaultName,
    Swarm: {
      NodeID: "",
      NodeAddr: "",
      LocalNodeState: "inactive",
      ControlAvailable: false,
      Error: "",
      RemoteManagers: null,
    },
    LiveRestoreEnabled: true,
    Isolation: "",
    InitBinary: "tether",
    SecurityOptions: [],
    Warnings: [],
  };
}

/** A runtime is a bootstrap ISO: what differs is the kernel and what lies beside it. */
async function runtimes({ isos }: EngineContext): Promise<{
  runtimes: NonNullable<Schemas["SystemInfo"]["Runtimes"]>;
  defaultName: string;
}> {
  const [records, defaultName] = await Promise.all([isos.list(), isos.defaultName()]);
  const described = records.map((record): [string, Schemas["Runtime"]] => [
    record.name,
    { path: isos.path(record), status: { kernel: record.kernelVersion, tether: record.tetherVersion } },
  ]);
  return { runtimes: { [BUILT_IN_ISO]: {}, ...Object.fromEntries(described) }, defaultName };
}

function registryConfig(parts: SystemParts): NonNullable<Schemas["SystemInfo"]["RegistryConfig"]> {
  const insecure = parts.insecureRegistries;
  return {
    InsecureRegistryCIDRs: insecure.filter((entry) => entry.includes("/")),
    IndexConfigs: {
      "docker.io": { Name: "docker.io", Mirrors: [...parts.mirrors], Secure: true, Official: true },
      ...Object.fromEntries(
        insecure
          .filter((entry) => !entry.includes("/"))
          .map((name) => [name, { Name: name, Mirrors: [], Secure: false, Official: false }]),
      ),
    },
    Mirrors: [...parts.mirrors],
  };
}

const uuid = (hex: string): string =>
  [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");

/** The shape of API 1.51 and before; sizes are what files take on the datastore. */
async function diskUsage(
  context: EngineContext,
  imageService: Images,
  types: readonly string[],
): Promise<Record<string, unknown>> {
  const wants = (type: string): boolean => types.length === 0 || types.includes(type);
  const reads = new Semaphore(VSPHERE_CONCURRENCY);
  const images = wants("image")
    ? await imageService.list({ all: false, digests: false, filters: new Map([["dangling", ["false"]]]) })
    : [];
  const containers = wants("container")
    ? await Promise.all(
        context.table
          .all()
          .sort((a, b) => createdAt(b) - createdAt(a))
          .map(async (container) => {
            const { rw, root } = await reads.run(() => containerSizes(context, container));
            return { ...summarize(context, container), SizeRw: rw, SizeRootFs: root };
          }),
      )
    : [];
  const volumes = wants("volume")
    ? await Promise.all(
        context.volumes.all().map(async (record) => ({
          ...describeVolume(record, context.volumes.path(record.name)),
          UsageData: {
            Size: await reads.run(() => context.volumes.sizeOnDatastore(record.name)),
            RefCount: context.table
              .all()
              .filter((container) => volumeMounts(container).some(({ name }) => name === record.name)).length,
          },
        })),
      )
    : [];
  const layers = new Map(images.map((image) => [image.Id, image.Size ?? 0]));
  return {
    LayersSize: [...layers.values()].reduce((sum, size) => sum + size, 0),
    Images: wants("image") ? images : null,
    Containers: wants("container") ? containers : null,
    Volumes: wants("volume") ? volumes : null,
    BuildCache: wants("build-cache") ? [] : null,
    BuilderSize: 0,
  };
}
