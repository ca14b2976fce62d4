import { invalidArgument } from "../fault.ts";
import type { ComputeResource } from "../inventory/compute-resource.ts";
import { Host } from "../inventory/host.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { falseUnless } from "../model/false-fields.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { DEFAULT_HARDWARE_VERSION, GUEST_IDS, guestFullName } from "../vm/configuration.ts";
import { HARDWARE_VERSIONS } from "../vm/upgrade.ts";
import { capability } from "../vm/vm-properties.ts";

const MAXIMUM_VMS = 1024;
const MAXIMUM_DISKS = 60;

/** What a VM on a compute resource can have: datastores, networks, hardware versions, guests. */
export class EnvironmentBrowser extends ManagedObject {
  constructor(
    private readonly compute: ComputeResource,
    reference: Reference,
    datastoreBrowser: Reference,
  ) {
    super(compute.registry, reference);
    this.properties({ datastoreBrowser: () => datastoreBrowser });
    this.methods({
      QueryConfigOptionDescriptor: () => HARDWARE_VERSIONS.map((key) => this.#descriptor(key)),
      QueryConfigOption: (p) => this.#option(p.key as string | undefined, p.host, undefined),
      QueryConfigOptionEx: (p) => {
        const spec = (p.spec ?? {}) as Partial<DataObject>;
        return this.#option(spec.key as string | undefined, spec.host, spec.guestId as string[] | undefined);
      },
      QueryConfigTarget: (p) => this.#target(this.#hosts(p.host)),
      QueryTargetCapabilities: (p) => {
        this.#hosts(p.host);
        return hostCapability();
      },
    });
  }

  override get authority(): ManagedObject {
    return this.compute;
  }

  #hosts(host: unknown): readonly Host[] {
    if (host === undefined) return this.compute.hosts;
    const chosen = this.registry.getAs(Host, host, "host");
    if (chosen.computeResource !== this.compute) throw invalidArgument("host", `${chosen.name} belongs elsewhere.`);
    return [chosen];
  }

  #descriptor(key: string): DataObject {
    return data("VirtualMachineConfigOptionDescriptor", {
      key,
      description: `Hardware version ${key.replace("vmx-", "")}`,
      host: this.compute.hosts.map((host) => host.reference),
      createSupported: true,
      defaultConfigOption: key === DEFAULT_HARDWARE_VERSION,
      runSupported: true,
      upgradeSupported: true,
    });
  }

  #option(key: string | undefined, host: unknown, guests: readonly string[] | undefined): DataObject {
    this.#hosts(host);
    const version = key === undefined || key === "" ? DEFAULT_HARDWARE_VERSION : key;
    if (!HARDWARE_VERSIONS.includes(version))
      throw invalidArgument("key", `There is no hardware version '${version}'.`);
    const { facts } = this.compute.context.inventory;
    const memoryMB = Math.floor(facts.memoryBytes / 2 ** 20);
    const ids = guests === undefined || guests.length === 0 ? GUEST_IDS : guests.filter((id) => GUEST_IDS.includes(id));
    return data("VirtualMachineConfigOption", {
      version,
      description: `Hardware version ${version.replace("vmx-", "")}`,
      guestOSDescriptor: ids.map((id) => guestDescriptor(id, facts.threads, memoryMB)),
      guestOSDefaultIndex: 0,
      hardwareOptions: data("VirtualHardwareOption", {
        hwVersion: Number(version.replace("vmx-", "")),
        virtualDeviceOption: [],
        deviceListReadonly: false,
        numCPU: Array.from({ length: facts.threads }, (_, index) => index + 1),
        numCoresPerSocket: range(1, facts.threads, 1),
        numCpuReadonly: false,
        memoryMB: data("LongOption", { valueIsReadonly: false, min: 4, max: memoryMB, defaultValue: 32 }),
        numPCIControllers: range(1, 1, 1),
        numIDEControllers: range(2, 2, 2),
        numUSBControllers: range(0, 0, 0),
        numUSBXHCIControllers: range(0, 0, 0),
        numSIOControllers: range(1, 1, 1),
        numPS2Controllers: range(1, 1, 1),
        resourceConfigOption: data("ResourceConfigOption", {
          cpuAllocationOption: allocationOption(),
          memoryAllocationOption: allocationOption(),
        }),
      }),
      capabilities: capability(),
      datastore: data("DatastoreOption", {}),
      supportedMonitorType: ["release"],
    });
  }

  #target(hosts: readonly Host[]): DataObject {
    const { inventory } = this.compute.context;
    const { facts } = inventory;
    const stores = inventory.datastores.filter((store) => hosts.some((host) => store.isMountedOn(host)));
    const networks = inventory.networks.filter((network) => hosts.some((host) => network.isOn(host)));
    const memoryMB = Math.floor(facts.memoryBytes / 2 ** 20);
    return data("ConfigTarget", {
      numCpus: facts.threads,
      numCpuCores: facts.threads,
      numNumaNodes: 1,
      smcPresent: false,
      datastore: stores.map((store) =>
        data("VirtualMachineDatastoreInfo", {
          name: store.name,
          datastore: store.read("summary"),
          capability: store.read("capability"),
          maxFileSize: (store.read("info") as DataObject).maxFileSize,
          mode: "readWrite",
        }),
      ),
      network: networks
        .filter(({ reference }) => reference.type === "Network")
        .map((network) => data("VirtualMachineNetworkInfo", { name: network.name, network: network.read("summary") })),
      maxMemMBOptimalPerf: memoryMB,
      supportedMaxMemMB: memoryMB,
      autoVmotion: false,
      pciPassthrough: [],
      scsiDisk: [],
    });
  }
}

const range = (min: number, max: number, defaultValue: number): DataObject =>
  data("IntOption", { valueIsReadonly: min === max, min, max, defaultValue });

const allocationOption = (): DataObject =>
  data("ResourceAllocationOption", {
    sharesOption: data("SharesOption", {
      sharesOption: range(0, 1_000_000, 1000),
      defaultLevel: "normal",
    }),
  });

const guestDescriptor = (id: string, cpus: number, memoryMB: number): DataObject =>
  falseUnless("GuestOsDescriptor", {
    id,
    family: /other(Guest|Guest64)$/.test(id) ? "otherGuestFamily" : "linuxGuest",
    fullName: guestFullName(id),
    supportedMaxCPUs: cpus,
    numSupportedPhysicalSockets: cpus,
    numSupportedCoresPerSocket: cpus,
    supportedMinMemMB: 4,
    supportedMaxMemMB: memoryMB,
    recommendedMemMB: 512,
    recommendedColorDepth: 0,
    supportedDiskControllerList: ["ParaVirtualSCSIController", "VirtualLsiLogicSASController", "VirtualIDEController"],
    recommendedSCSIController: "ParaVirtualSCSIController",
    recommendedDiskController: "ParaVirtualSCSIController",
    supportedNumDisks: MAXIMUM_DISKS,
    recommendedDiskSizeMB: 8192,
    recommendedCdromController: "VirtualIDEController",
    supportedEthernetCard: ["VirtualVmxnet3", "VirtualE1000", "VirtualE1000e"],
    recommendedEthernetCard: "VirtualVmxnet3",
    supportedFirmware: ["bios", "efi"],
    recommendedFirmware: "bios",
    supportLevel: "supported",
    supportedForCreate: true,
    vRAMSizeInKB: range(0, 0, 0),
    numSupportedFloppyDevices: 0,
    supportsPvscsiControllerForBoot: true,
    diskUuidEnabled: true,
  });

/** What a host of the lab can do; the rest of ESXi's abilities it does not have. */
export const hostCapability = (): DataObject =>
  falseUnless("HostCapability", {
    recursiveResourcePoolsSupported: true,
    cpuMemoryResourceConfigurationSupported: true,
    vmotionSupported: true,
    maintenanceModeSupported: true,
    suspendedRelocateSupported: true,
    cloneFromSnapshotSupported: true,
    deltaDiskBackingsSupported: true,
    backgroundSnapshotsSupported: true,
    maxSupportedVMs: MAXIMUM_VMS,
    maxRunningVMs: MAXIMUM_VMS,
    maxRegisteredVMs: MAXIMUM_VMS,
    vmCreateDateSupported: true,
  });
