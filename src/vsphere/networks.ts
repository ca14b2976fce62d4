/** Networks by name, and the backing a vNIC needs for each kind. */
import { type ObjectReference, type VSphere, VSphereFault } from "./contract.ts";
import { retrieve, retrieveBelow } from "./properties.ts";
import type { Session } from "./session.ts";
import type { ManagedObjectReference, VirtualDevice } from "./vim25/index.ts";

type NetworkSummary = Awaited<ReturnType<VSphere["networks"]>>[number];
type NetworkBacking = NonNullable<VirtualDevice["backing"]>;

interface KnownNetwork extends NetworkSummary {
  backing: NetworkBacking;
}

export class Networks {
  private known = new Map<string, KnownNetwork>();

  constructor(
    private readonly session: Session,
    private readonly folder: ManagedObjectReference<"Folder">,
  ) {}

  async list(): Promise<NetworkSummary[]> {
    await this.refresh();
    return [...this.known.values()].map(({ name, reference, kind }) => ({ name, reference, kind }));
  }

  /** Backing for a vNIC on the network. Asks vSphere only for names that it does not know yet. */
  async backing(name: string): Promise<NetworkBacking> {
    if (!this.known.has(name)) await this.refresh();
    const network = this.known.get(name);
    if (network) return network.backing;
    const names = [...this.known.keys()].slice(0, 20).join(", ");
    throw new VSphereFault("NotFound", `There is no network "${name}" in vSphere; visible are: ${names || "none"}`);
  }

  /** Name of the network that a vNIC is on; undefined when it is none that we know: `refresh` may help. */
  nameOf(backing: NetworkBacking | undefined): string | undefined {
    if (!backing) return "";
    if (backing._type === "VirtualEthernetCardNetworkBackingInfo") return backing.deviceName;
    return [...this.known.values()].find((network) => sameNetwork(network.backing, backing))?.name;
  }

  async refresh(): Promise<void> {
    const found = await retrieveBelow(this.session, this.folder, {
      Network: ["name"],
      DistributedVirtualPortgroup: ["key", "config.distributedVirtualSwitch", "config.uplink"],
      OpaqueNetwork: ["summary"],
    });
    const switches = await this.switchUuids(found.map(({ values }) => values.get("config.distributedVirtualSwitch")));
    const known = new Map<string, KnownNetwork>();
    for (const { reference, values } of found) {
      const name = String(values.get("name"));
      if (values.get("config.uplink") === true) continue;
      const network = { name, reference: reference as ObjectReference };
      if (reference.type === "DistributedVirtualPortgroup") {
        const dvs = values.get("config.distributedVirtualSwitch") as ManagedObjectReference | undefined;
        const switchUuid = switches.get(dvs?.value ?? "");
        if (switchUuid === undefined) continue;
        const port = { switchUuid, portgroupKey: String(values.get("key")) };
        known.set(name, {
          ...network,
          kind: "distributed",
          backing: { _type: "VirtualEthernetCardDistributedVirtualPortBackingInfo", port },
        });
      } else if (reference.type === "OpaqueNetwork") {
        const summary = values.get("summary");
        if (typeof summary !== "object" || !("opaqueNetworkId" in summary) || !("opaqueNetworkType" in summary))
          continue;
        known.set(name, {
          ...network,
          kind: "opaque",
          backing: {
            _type: "VirtualEthernetCardOpaqueNetworkBackingInfo",
            opaqueNetworkId: String(summary.opaqueNetworkId),
            opaqueNetworkType: String(summary.opaqueNetworkType),
          },
        });
      } else {
        known.set(name, {
          ...network,
          kind: "standard",
          backing: { _type: "VirtualEthernetCardNetworkBackingInfo", deviceName: name },
        });
      }
    }
    this.known = known;
  }

  private async switchUuids(switches: unknown[]): Promise<Map<string, string>> {
    const references = new Map<string, ManagedObjectReference>();
    for (const dvs of switches) {
      if (typeof dvs === "object" && dvs !== null && "value" in dvs)
        references.set(String(dvs.value), dvs as ManagedObjectReference);
    }
    if (references.size === 0) return new Map();
    const found = await retrieve(this.session, {
      propSet: [{ type: "DistributedVirtualSwitch", pathSet: ["uuid"] }],
      objectSet: [...references.values()].map((obj) => ({ obj })),
    });
    return new Map(found.map(({ reference, values }) => [reference.value, String(values.get("uuid"))]));
  }
}

function sameNetwork(known: NetworkBacking, actual: NetworkBacking): boolean {
  if (
    known._type === "VirtualEthernetCardDistributedVirtualPortBackingInfo" &&
    actual._type === "VirtualEthernetCardDistributedVirtualPortBackingInfo"
  ) {
    return known.port.portgroupKey === actual.port.portgroupKey;
  }
  return (
    known._type === "VirtualEthernetCardOpaqueNetworkBackingInfo" &&
    actual._type === "VirtualEthernetCardOpaqueNetworkBackingInfo" &&
    known.opaqueNetworkId === actual.opaqueNetworkId
  );
}
