import type { ArchitectureFacts } from "./architecture";
import { optionOfModule } from "./kernel-configuration";
import { type ModuleIndex, moduleName } from "./kernel-modules";

/** Without the drive and its file system the medium cannot be read. */
const cdDrive = "sr_mod";
/** File systems that the medium can have for the guest. */
export type MediumFileSystem = "iso9660" | "squashfs";
const fileSystemModule: Readonly<Record<MediumFileSystem, string>> = { iso9660: "isofs", squashfs: "squashfs" };
/** Disks and network, besides the disks' controller. Init loads them while the CD-ROM controller resets its channels, time that is idle otherwise. */
const deviceEssentials = ["vmxnet3"];
/** Needed by every container, but by no device: loaded while the tether starts. */
const lateEssentials = ["overlay", "ext4"];
/** Loaded late where the kernel has them: talking to the VMware host. */
const lateOptional = ["vmw_vmci", "vmw_vsock_vmci_transport"];

/** Modules on the medium for later, loaded when something asks for them: network functions and file systems. */
const keptFolders =
  /^kernel\/(arch\/[^/]+\/crypto|crypto|lib|net\/(802|8021q|bridge|core|ipv4|ipv6|key|llc|netfilter|packet|sched|sctp|sunrpc|tls|unix|vmw_vsock|xfrm)|fs\/(autofs|cifs|dns_resolver|ext4|fat|fscache|fuse|isofs|jbd2|lockd|netfs|nfs|nfs_common|nls|overlayfs|smbfs_common|squashfs)|drivers\/(ata|cdrom))\//;
/** Transports over hardware that no container VM has. */
const neverKept = /\/(rpcrdma|smbdirect|.*_rdma|rdma_.*|hv_sock)\.ko$/;
/** Single drivers kept for later, with what they depend on. */
const keptDrivers =
  /\/(bonding|dm-crypt|dm-mod|dummy|e1000|e1000e|ifb|ipvlan|loop|macvlan|nvme|nvme-core|sg|tun|veth|vlan|vmw_balloon|vxlan|wireguard|zram)\.ko$/;

/** Which modules a container VM gets, and when it loads them. Paths are below `lib/modules/VERSION/`. */
export interface ModuleSelection {
  /** In the initramfs, in load order: what is needed to reach the medium, then the drivers of disks and network. */
  early: string[];
  /** Loaded from the medium while the tether starts, in load order. */
  late: string[];
  /** On the medium; includes the early and the late ones. */
  kept: string[];
  /** Controllers that the medium can be read from, whether their drivers are built in or loaded early. */
  cdrom: ("ide" | "sata")[];
}

/** What is selected for. */
export interface ModuleWishes {
  machine: ArchitectureFacts;
  fileSystem: MediumFileSystem;
  /** Names of modules to keep, and load late, besides the usual ones. */
  further?: readonly string[];
}

/**
 * @throws Error naming a driver that is needed and that the kernel has neither built in nor as a module
 */
export function selectModules(
  index: ModuleIndex,
  paths: Iterable<string>,
  { machine, fileSystem, further = [] }: ModuleWishes,
): ModuleSelection {
  const has = (name: string): boolean => index.isBuiltin(name) || index.isLoadable(name);
  const oneOf = (what: string, modules: readonly string[]): string[] => {
    const found = modules.filter(has);
    if (found.length > 0) return found;
    const wanted = modules.map((name) => `${name}${optionOfModule[name] ? ` (CONFIG_${optionOfModule[name]})` : ""}`);
    throw new Error(`the kernel has no driver for a ${what} controller, ${wanted.join(" or ")}; use another kernel`);
  };
  const unknown = further.find((name) => !has(moduleName(name)));
  if (unknown !== undefined)
    throw new Error(`the kernel has no module ${unknown}, neither loadable nor built in, which was asked for`);
  const controllers = oneOf(
    "CD-ROM",
    machine.cdControllers.map(({ module }) => module),
  );
  const disks = oneOf("disk", machine.diskControllers);
  const early = index.loadOrder([
    ...controllers,
    cdDrive,
    fileSystemModule[fileSystem],
    "sd_mod",
    ...disks,
    ...deviceEssentials,
  ]);
  const late = index
    .loadOrder([...lateEssentials, ...lateOptional.filter(has), ...further.map(moduleName)])
    .filter((path) => !early.includes(path));
  const wanted = [...paths]
    .filter((path) => (keptFolders.test(path) || keptDrivers.test(path)) && !neverKept.test(path))
    .map(moduleName);
  const kept = new Set([...early, ...late, ...index.loadOrder(wanted)]);
  const cdrom = machine.cdControllers.filter(({ module }) => controllers.includes(module)).map(({ bus }) => bus);
  return { early, late, kept: [...kept].sort(), cdrom };
}

/**
 * Parameters for every module of the early list. Controllers reset their channels one after the other, 150 ms each by
 * the ATA standard. With `async_probe` loading does not wait for that: the kernel waits for all probing after each
 * module without it, so all of them have it, and init waits for the drive by event.
 */
export const EARLY_MODULE_PARAMETERS = "async_probe";
