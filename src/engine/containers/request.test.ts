import { describe, expect, test } from "bun:test";
import { capabilitySet } from "./capabilities.ts";
import { checkHostConfig, machineSize } from "./host-config.ts";
import { commandLine, mergeEnvironment, mergeImage } from "./image-merge.ts";
import { parseBind, parseMount, parseTmpfs, planMounts } from "./mount-plan.ts";
import { portMap, portMappings, portSummaries } from "./ports.ts";
import { parseSize } from "./sizes.ts";

describe("image and request", () => {
  const image = {
    Entrypoint: ["/entry"],
    Cmd: ["default"],
    Env: ["A=1", "B=2"],
    Labels: { from: "image" },
    User: "app",
  };

  test.each([
    [{}, ["/entry", "default"]],
    [{ Cmd: ["mine"] }, ["/entry", "mine"]],
    [{ Entrypoint: ["/other"] }, ["/other"]],
    [{ Entrypoint: ["/other"], Cmd: ["x"] }, ["/other", "x"]],
    [{ Entrypoint: [""], Cmd: ["sh"] }, ["sh"]],
  ])("%j runs %j", (given, line) => {
    expect(commandLine(mergeImage(given, image))).toEqual(line);
  });

  test("no command at all", () => {
    expect(() => commandLine(mergeImage({}, {}))).toThrow("no command specified");
  });

  test("environment: replaced, removed, PATH always there", () => {
    expect(mergeEnvironment(["A=1", "B=2"], ["B=3", "A", "C="])).toEqual([
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "B=3",
      "C=",
    ]);
    expect(() => mergeEnvironment([], ["=x"])).toThrow("invalid environment variable");
  });

  test("health check: merged, checked", () => {
    const merged = mergeImage({ Healthcheck: { Retries: 5 } }, { ...image, Healthcheck: { Test: ["CMD", "ok"] } });
    expect(merged.Healthcheck).toEqual({ Test: ["CMD", "ok"], Retries: 5 });
    expect(() => mergeImage({ Healthcheck: { Test: ["CMD", "x"], Interval: 5 } }, {})).toThrow(
      "cannot be less than 1ms",
    );
  });
});

describe("mounts", () => {
  test("-v", () => {
    expect(parseBind("data:/var/lib:ro,nocopy", undefined)).toMatchObject({
      name: "data",
      destination: "/var/lib",
      readOnly: true,
      copyUp: false,
    });
    expect(parseBind("/anon", undefined)).toMatchObject({ name: undefined, destination: "/anon", copyUp: true });
    expect(parseBind("/host/../srv/:/x:ro,rslave,cached,z", undefined)).toEqual({
      type: "bind",
      source: "/srv",
      destination: "/x",
      readOnly: true,
      createSource: true,
      nonRecursive: false,
      propagation: "rslave",
      mode: "ro,rslave,cached,z",
    });
    expect(parseBind("/host:/x", undefined)).toMatchObject({ readOnly: false, propagation: "rprivate", mode: "" });
    expect(() => parseBind("/host:/x:ro,rw", undefined)).toThrow("invalid mode: ro,rw");
    expect(() => parseBind("/host:/x:nocopy", undefined)).toThrow("invalid mode: nocopy");
    expect(() => parseBind("/host:/x:rshared", undefined)).toThrow("stays in its own VM");
    expect(() => parseBind("/host:/dev/x", undefined)).toThrow("/dev is the container VM's own");
    expect(() => parseBind("/host:/", undefined)).toThrow("destination can't be '/'");
    expect(() => parseBind("data:/", undefined)).toThrow("destination can't be '/'");
    expect(() => parseBind("data:rel", undefined)).toThrow("mount path must be absolute");
    expect(() => parseBind("data:/x:wat", undefined)).toThrow("invalid mode: wat");
  });

  test("--mount", () => {
    expect(
      parseMount({ Type: "volume", Source: "data", Target: "/d", VolumeOptions: { NoCopy: true, Subpath: "a/b" } }),
    ).toMatchObject({ name: "data", copyUp: false, subpath: "a/b" });
    expect(() =>
      parseMount({ Type: "volume", Target: "/d", VolumeOptions: { NoCopy: false, Subpath: "../x" } }),
    ).toThrow("invalid subpath");
    const bind = { Type: "bind", Source: "/srv/data/", Target: "/d" } as const;
    const options = {
      NonRecursive: false,
      CreateMountpoint: false,
      ReadOnlyNonRecursive: false,
      ReadOnlyForceRecursive: false,
    };
    expect(parseMount({ ...bind, ReadOnly: true, Consistency: "cached" })).toEqual({
      type: "bind",
      source: "/srv/data",
      destination: "/d",
      readOnly: true,
      createSource: false,
      nonRecursive: false,
      propagation: "rprivate",
      mode: "",
    });
    expect(
      parseMount({
        ...bind,
        BindOptions: { ...options, NonRecursive: true, CreateMountpoint: true, Propagation: "slave" },
      }),
    ).toMatchObject({ nonRecursive: true, createSource: true, propagation: "slave" });
    expect(() => parseMount({ ...bind, BindOptions: { ...options, ReadOnlyNonRecursive: true } })).toThrow(
      "by a second bind",
    );
    expect(() => parseMount({ ...bind, BindOptions: { ...options, Propagation: "shared" } })).toThrow(
      "stays in its own VM",
    );
    expect(() => parseMount({ ...bind, Source: "" })).toThrow(
      'invalid mount config for type "bind": field Source must not be empty',
    );
    expect(() => parseMount({ ...bind, Source: "data" })).toThrow(
      `invalid mount config for type "bind": invalid mount path: 'data' mount path must be absolute`,
    );
    expect(() => parseMount({ ...bind, Consistency: "wat" })).toThrow("invalid consistency");
    expect(() => parseMount({ ...bind, VolumeOptions: { NoCopy: true } })).toThrow(
      "VolumeOptions must not be specified",
    );
  });

  test("--tmpfs", () => {
    expect(parseTmpfs("/t", "size=64m,mode=1777,noexec,ro")).toEqual({
      type: "tmpfs",
      destination: "/t",
      readOnly: true,
      sizeBytes: 64 * 1024 * 1024,
      mode: 0o1777,
      options: ["noexec"],
    });
    expect(() => parseTmpfs("/t", "wat=1")).toThrow("invalid tmpfs option");
  });

  test("a VOLUME of the image yields to an explicit mount; a destination twice is refused", () => {
    const plan = planMounts({ Binds: ["data:/data"] }, ["/data", "/other"], []);
    expect(plan.map((mount) => [mount.destination, mount.type === "volume" ? mount.name : ""])).toEqual([
      ["/data", "data"],
      ["/other", undefined],
    ]);
    expect(() => planMounts({ Binds: ["aa:/d", "bb:/d"] }, [], [])).toThrow("Duplicate mount point: /d");
  });
});

describe("ports", () => {
  test("-p, -P and what inspect shows", () => {
    const mappings = portMappings({ "80/tcp": [{ HostIp: "", HostPort: "8080-8090" }] }, ["80/tcp", "53/udp"], true);
    expect(mappings).toEqual([
      { containerPort: 80, protocol: "tcp", hostAddress: "", hostPort: { first: 8080, last: 8090 } },
      { containerPort: 53, protocol: "udp", hostAddress: "", hostPort: undefined },
    ]);
    const published = [{ containerPort: 80, protocol: "tcp" as const, hostAddress: "0.0.0.0", hostPort: 8080 }];
    expect(portMap(["80/tcp", "53/udp"], published)).toEqual({
      "80/tcp": [{ HostIp: "0.0.0.0", HostPort: "8080" }],
      "53/udp": null,
    });
    expect(portSummaries(["80/tcp"], published)).toEqual([
      { IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp" },
    ]);
    expect(() => portMappings({ "80/tcp": [{ HostPort: "99999" }] }, [], false)).toThrow("invalid port specification");
  });
});

describe("size of the VM", () => {
  const defaults = { memoryMB: 512, cpus: 1 };
  const capacity = { cpus: 8, cpuMhz: 2000 };
  test.each([
    [{}, { cpus: 1, memoryMB: 512 }],
    [{ Memory: 64 * 1024 * 1024 }, { cpus: 1, memoryMB: 192 }],
    [{ Memory: 65 * 1024 * 1024 }, { cpus: 1, memoryMB: 196 }],
    [{ NanoCpus: 2e9 }, { cpus: 2, memoryMB: 512 }],
    [{ NanoCpus: 1.5e9 }, { cpus: 2, memoryMB: 512, cpuLimitMhz: 3000 }],
    [
      { CpuPeriod: 100_000, CpuQuota: 50_000 },
      { cpus: 1, memoryMB: 512, cpuLimitMhz: 1000 },
    ],
    [{ CpuShares: 2048 }, { cpus: 1, memoryMB: 512, cpuShares: 2000 }],
  ])("%j", (given, size) => {
    expect(machineSize(given, defaults, capacity)).toEqual(size);
  });

  test("impossible ones", () => {
    expect(() => machineSize({ NanoCpus: 9e9 }, defaults, capacity)).toThrow("range of CPUs is from 0.01 to 8.00");
    expect(() => checkHostConfig({ Memory: 1024 })).toThrow("Minimum memory limit allowed is 6MB");
    expect(() => checkHostConfig({ Memory: 1e9, MemorySwap: -1 })).toThrow("no swap");
    expect(() => checkHostConfig({ Memory: 1e9, MemorySwap: 1e9 })).not.toThrow();
    expect(() => checkHostConfig({ Memory: 0, LogConfig: { Type: "syslog", Config: {} } })).toThrow(
      "log driver syslog",
    );
  });
});

test("capabilities", () => {
  expect(capabilitySet([], [], false)).toContain("CHOWN");
  expect(capabilitySet([], ["ALL"], false)).toEqual([]);
  expect(capabilitySet(["NET_ADMIN"], ["ALL"], false)).toEqual(["NET_ADMIN"]);
  expect(capabilitySet(["ALL"], ["CAP_MKNOD"], false)).not.toContain("MKNOD");
  expect(() => capabilitySet(["FLY"], [], false)).toThrow('unknown capability: "CAP_FLY"');
});

test("sizes", () => {
  expect([parseSize("64m"), parseSize("1.5g"), parseSize("10GiB"), parseSize("7"), parseSize("wat")]).toEqual([
    64 * 1024 ** 2,
    1.5 * 1024 ** 3,
    10 * 1024 ** 3,
    7,
    undefined,
  ]);
});
