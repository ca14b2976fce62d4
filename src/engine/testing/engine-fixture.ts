/** An engine over fakes. Several engines may be opened over one vSphere, one after the other: that is a restart. */

import { createAddressPool } from "../../network/address-pool.ts";
import type { BridgeNetwork, BridgeNetworkOptions, PublishedPort } from "../../network/contract.ts";
import { assembleEngine, type EngineParts } from "../assemble.ts";
import type { Engine, Images } from "../contract.ts";
import { notFound, notImplemented } from "../errors.ts";
import type { GuestLinks, SerialUse } from "../guests/guest-links.ts";
import type { BuildSteps, ImageRuntimeConfig, StoredImage } from "../images/contract.ts";
import type { ContainerNetworkOptions } from "../networks/container-networks.ts";
import { bootTethers, type Owners, type TetherBehaviour } from "./fake-tether.ts";
import { FakeVSphere } from "./fake-vsphere.ts";

const SUBNET = "172.30.0.0/16";
const GATEWAY = "172.30.0.1";
const LEAF = "[ds1] vch/test/images/leaf.vmdk";

export interface Fixture {
  vsphere: FakeVSphere;
  engine: Engine;
  logged: string[];
  /** Actions of all events so far. */
  actions: string[];
  close(): Promise<void>;
}

export async function openEngine(
  vsphere = new FakeVSphere(),
  options: {
    reports?: TetherBehaviour["reports"];
    image?: ImageRuntimeConfig;
    containerLimit?: number;
    serial?: SerialUse;
    containerNetworks?: readonly ContainerNetworkOptions[];
  } = {},
): Promise<Fixture> {
  const owners: Owners = new Map();
  const logged: string[] = [];
  vsphere.content.set(LEAF, new Uint8Array(64));
  bootTethers(vsphere, owners, { reports: options.reports ?? "both" });
  const engine = await assembleEngine(
    {
      vsphere,
      name: "test",
      bridge: { interfaceName: "br0", network: "bridge", subnet: SUBNET, gateway: GATEWAY },
      portGroups: { virtualSwitch: "vSwitch0", interfaceOf: (portGroup) => `if-${portGroup}` },
      iso: { datastorePath: "[ds1] iso/bootstrap.iso" },
      link: { port: 2377, certificatePem: "", keyPem: "" },
      registries: () => ({ insecureRegistries: [], mirrors: [], allowedRegistries: [] }),
      defaults: { memoryMB: 512, cpus: 1 },
      containerLimit: options.containerLimit,
      containerNetworks: options.containerNetworks,
      build: { version: "0", commit: "", built: "" },
      log: (message) => logged.push(message),
    },
    fakeParts(owners, options.image ?? { Cmd: ["true"] }, LEAF, options.serial && serialLinks(options.serial)),
  );
  const actions: string[] = [];
  const leaving = new AbortController();
  const following = (async () => {
    for await (const event of engine.events.subscribe({ filters: new Map(), signal: leaving.signal }))
      actions.push(`${event.Type} ${event.Action}`);
  })();
  return {
    vsphere,
    engine,
    logged,
    actions,
    close: async () => {
      leaving.abort();
      await following;
      await engine.close();
    },
  };
}

const serialLinks = (use: SerialUse): GuestLinks["serial"] => ({
  use,
  device: {
    kind: "network",
    serviceUri: "vch-control-link",
    proxyUri: `telnet://${GATEWAY}:2378`,
    direction: "client",
    connected: true,
  },
});

/** Everything around an engine but its vSphere. `leaf` is the disk of the only image, `busybox`. */
export function fakeParts(
  owners: Owners,
  config: ImageRuntimeConfig,
  leaf = LEAF,
  serial?: GuestLinks["serial"],
): EngineParts {
  return {
    openBridgeNetwork: async (options) => fakeBridge(options),
    removeBridgeNetwork: async () => undefined,
    openGuestLinks: async () => ({
      configuration: { carrier: "net", endpoints: [`${GATEWAY}:2377`], serverFingerprint: "00" },
      port: 2377,
      serial,
      serve: async () => ({ close: () => undefined }),
      expect: (token, owner) => {
        owners.set(token, owner);
        return () => owners.delete(token);
      },
      close: async () => owners.clear(),
    }),
    createImages: async () => ({
      store: {
        resolve: async (reference) => {
          if (reference !== "busybox") throw notFound(`No such image: ${reference}`);
          return fakeImage(config, leaf);
        },
        hold: () => () => undefined,
        diskOf: () => leaf,
        addLayer: async () => {
          throw notImplemented("no image disks here");
        },
      },
      steps: noBuilds,
      images: { list: async () => [] } as unknown as Images,
      authenticate: async () => {
        throw notImplemented("no registry here");
      },
      collect: async () => undefined,
    }),
  };
}

const noBuilds = new Proxy({} as BuildSteps, {
  get: () => () => {
    throw notImplemented("no builds here");
  },
});

const fakeImage = (config: ImageRuntimeConfig, leaf: string): StoredImage => ({
  id: `sha256:${"1".repeat(64)}`,
  architecture: "amd64",
  os: "linux",
  config,
  disk: { path: leaf, capacityBytes: 1e9 },
  sizeBytes: 1000,
});

function fakeBridge({ interfaceName, subnet, gateway, ...options }: BridgeNetworkOptions): BridgeNetwork {
  const published = new Map<string, PublishedPort[]>();
  return {
    interfaceName,
    subnet,
    gateway,
    addresses: createAddressPool({
      subnet,
      reserved: [gateway, ...(options.reserved ?? [])],
      leaseRange: options.leaseRange,
      inUse: options.addressesInUse,
    }),
    addresses6:
      options.ipv6 &&
      createAddressPool({
        subnet: options.ipv6.subnet,
        reserved: [options.ipv6.gateway, ...(options.ipv6.reserved ?? [])],
        leaseRange: options.ipv6.leaseRange,
        inUse: options.addressesInUse,
      }),
    bind: async () => undefined,
    unbind: async () => undefined,
    publish: async (endpoint) => {
      const ports = endpoint.ports.map(
        ({ containerPort, protocol, hostPort }): PublishedPort => ({
          containerPort,
          protocol,
          hostAddress: "0.0.0.0",
          hostPort: typeof hostPort === "number" ? hostPort : 32768,
        }),
      );
      published.set(endpoint.containerId, ports);
      return ports;
    },
    withdraw: async (id) => {
      published.delete(id);
    },
    published: (id) => published.get(id) ?? [],
    reconcile: async () => ({ published: new Map(), failures: [] }),
    close: async () => undefined,
  };
}
