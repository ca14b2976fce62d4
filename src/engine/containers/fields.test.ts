import { describe, expect, test } from "bun:test";
import type { ContainerCreateBody } from "../contract.ts";
import { CONTAINER_FIELDS, checkFields, isDefault } from "./fields.ts";

/** What docker CLI 28 sends for `docker run busybox true`. */
const CLI_DEFAULTS = {
  Hostname: "",
  Domainname: "",
  User: "",
  AttachStdin: false,
  AttachStdout: true,
  AttachStderr: true,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: null,
  Cmd: ["true"],
  Image: "busybox",
  Volumes: {},
  WorkingDir: "",
  Entrypoint: null,
  OnBuild: null,
  Labels: {},
  HostConfig: {
    Binds: null,
    ContainerIDFile: "",
    LogConfig: { Type: "", Config: {} },
    NetworkMode: "default",
    PortBindings: {},
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
    AutoRemove: false,
    VolumeDriver: "",
    VolumesFrom: null,
    ConsoleSize: [24, 80],
    CapAdd: null,
    CapDrop: null,
    CgroupnsMode: "",
    Dns: [],
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: null,
    GroupAdd: null,
    IpcMode: "",
    Cgroup: "",
    Links: null,
    OomScoreAdj: 0,
    PidMode: "",
    Privileged: false,
    PublishAllPorts: false,
    ReadonlyRootfs: false,
    SecurityOpt: null,
    UTSMode: "",
    UsernsMode: "",
    ShmSize: 0,
    Isolation: "",
    CpuShares: 0,
    Memory: 0,
    NanoCpus: 0,
    CgroupParent: "",
    BlkioWeight: 0,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
    CpuPeriod: 0,
    CpuQuota: 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: "",
    CpusetMems: "",
    Devices: [],
    DeviceCgroupRules: null,
    DeviceRequests: null,
    MemoryReservation: 0,
    MemorySwap: 0,
    MemorySwappiness: -1,
    OomKillDisable: false,
    PidsLimit: 0,
    Ulimits: [],
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    MaskedPaths: null,
    ReadonlyPaths: null,
  },
  NetworkingConfig: { EndpointsConfig: {} },
};

const body = (hostConfig: object, config: object = {}): ContainerCreateBody =>
  ({
    ...CLI_DEFAULTS,
    ...config,
    HostConfig: { ...CLI_DEFAULTS.HostConfig, ...hostConfig },
  }) as unknown as ContainerCreateBody;

describe("fields of a create request", () => {
  test("what the CLI always sends passes", () => {
    expect(() => checkFields(body({}))).not.toThrow();
  });

  test("every field that the CLI sends has a rule", () => {
    const known = new Set(CONTAINER_FIELDS.map(({ field }) => field));
    const { HostConfig, NetworkingConfig, ...config } = CLI_DEFAULTS;
    for (const name of Object.keys(config)) expect(known, name).toContain(`Config.${name}`);
    for (const name of Object.keys(HostConfig)) expect(known, name).toContain(`HostConfig.${name}`);
  });

  test.each([
    [{ CpusetMems: "1" }, "vSphere places"],
    [{ DeviceRequests: [{ Count: -1 }] }, "administrator"],
    [{ PidMode: "host" }, "kernels of their own"],
    [{ MemorySwappiness: 10 }, "no swap"],
  ])("%j is refused with a reason", (hostConfig, reason) => {
    expect(() => checkFields(body(hostConfig))).toThrow(reason);
    expect(() => checkFields(body(hostConfig))).toThrow(`HostConfig.${Object.keys(hostConfig)[0]} is not supported`);
  });

  test("a field nobody knows is refused, unless it asks for nothing", () => {
    expect(() => checkFields(body({ Teleport: true }))).toThrow("HostConfig.Teleport is not known");
    expect(() => checkFields(body({ Teleport: false }))).not.toThrow();
  });

  test("defaults", () => {
    for (const value of [undefined, null, 0, false, "", [], {}, [0, 0], { Type: "", Config: {} }])
      expect(isDefault(value)).toBe(true);
    for (const value of [1, true, "x", ["x"], { a: 1 }]) expect(isDefault(value)).toBe(false);
  });

  test("every refusal says what to do instead", () => {
    for (const rule of CONTAINER_FIELDS.filter(({ treatment }) => treatment === "refused"))
      expect(rule.note, rule.field).toMatch(/leave it out|use |give |raise |put |only the default|administrator/);
  });
});
