import type { Datastore } from "../inventory/datastore.ts";
import type { Host } from "../inventory/host.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { HostPart } from "./host-part.ts";

const BLOCK_BYTES = 512;
const HBA = { key: "key-vim.host.BlockHba-vmhba0", device: "vmhba0" };

/** A host's datastores as volumes, each on a local disk of its own behind one adapter. */
export class StorageSystem extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      storageDeviceInfo: () =>
        data("HostStorageDeviceInfo", {
          hostBusAdapter: [data("HostBlockHba", { ...HBA, bus: 0, status: "online", model: "vch lab" })],
          scsiLun: host.datastores.map(disk),
          softwareInternetScsiEnabled: false,
        }),
      fileSystemVolumeInfo: () =>
        data("HostFileSystemVolumeInfo", {
          volumeTypeList: ["VMFS"],
          mountInfo: host.datastores.map((store) =>
            data("HostFileSystemMountInfo", {
              mountInfo: data("HostMountInfo", {
                path: `/vmfs/volumes/${store.folder.name}`,
                accessMode: "readWrite",
                mounted: true,
                accessible: true,
              }),
              volume: data("HostLocalFileSystemVolume", {
                type: "VMFS",
                name: store.name,
                capacity: store.capacityBytes,
                device: nameOf(store),
              }),
            }),
          ),
        }),
      systemFile: () => [],
    });
    const refresh = (): void => {
      for (const store of host.datastores) store.refresh();
      this.changed("storageDeviceInfo", "fileSystemVolumeInfo");
    };
    this.methods({ RescanAllHba: refresh, RescanVmfs: refresh, RefreshStorageSystem: refresh });
  }
}

const nameOf = (store: Datastore): string => `vch.${store.reference.value}`;

const disk = (store: Datastore): DataObject =>
  data("HostScsiDisk", {
    deviceName: `/vmfs/devices/disks/${nameOf(store)}`,
    deviceType: "disk",
    key: `key-vim.host.ScsiDisk-${nameOf(store)}`,
    uuid: nameOf(store),
    canonicalName: nameOf(store),
    displayName: `Datastore ${store.name}`,
    lunType: "disk",
    vendor: "vch",
    model: "lab",
    operationalState: ["ok"],
    capacity: data("HostDiskDimensionsLba", {
      blockSize: BLOCK_BYTES,
      block: Math.floor(store.capacityBytes / BLOCK_BYTES),
    }),
    devicePath: `/vmfs/devices/disks/${nameOf(store)}`,
    localDisk: true,
  });
