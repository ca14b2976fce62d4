/** Puts the engine together out of its parts and takes up what vSphere holds. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenBridgeNetwork } from "../network/contract.ts";
import type { VirtualMachineRecord, VirtualMachineReference } from "../vsphere/contract.ts";
import { NO_BINDS } from "./binds/settings.ts";
import { BootAdmission } from "./boot-admission.ts";
import { bootstrapMedia } from "./bootstrap-medium.ts";
import { makeBuilds, removeUnfinished, unfinishedContainers } from "./build/index.ts";
import { ContainerExecs } from "./containers/exec.ts";
import { makeContainers } from "./containers/index.ts";
import { adopt, finishReconciliation, watchInventory } from "./containers/reconcile.ts";
import { ContainerTable } from "./containers/table.ts";
import { RecentRuns } from "./containers/timeline.ts";
import type { EngineContext, InfrastructureContext } from "./context.ts";
import type { Engine } from "./contract.ts";
import { EventLog } from "./events/event-log.ts";
import type { GuestLinkOptions, GuestLinks } from "./guests/guest-links.ts";
import { hostRecord } from "./host-record.ts";
import type { ImageService, ImagesOptions } from "./images/images.ts";
import { isoUse } from "./isos/usage.ts";
import { VSPHERE_CONCURRENCY } from "./limits.ts";
import { Loaders } from "./loader/pool.ts";
import { containerNetworkRecord } from "./networks/container-networks.ts";
import { defaultNetworks } from "./networks/default-networks.ts";
import { addressesOn } from "./networks/endpoints.ts";
import { makeNetworks } from "./networks/index.ts";
import { nameLookup } from "./networks/names.ts";
import { NetworkStore } from "./networks/network-store.ts";
import { NetworkTable } from "./networks/network-table.ts";
import { PeerFeed } from "./networks/peer-feed.ts";
import { PortGroups } from "./networks/port-groups.ts";
import type { EngineOptions } from "./options.ts";
import { SpaceWaiters } from "./out-of-space.ts";
import { enginePaths } from "./paths.ts";
import { makeSystem } from "./system/index.ts";
import { UntilDone } from "./until-done.ts";
import { makeVolumes } from "./volumes/index.ts";
import { VolumeStore } from "./volumes/store.ts";
import { Semaphore } from "./waiting.ts";

/** What container VMs are. */
const PLATFORM = { os: "linux", architecture: "amd64" };

/** What touches the machine or the network; tests bring their own. */
export interface EngineParts {
  openBridgeNetwork: OpenBridgeNetwork;
  removeBridgeNetwork(options: { owner: string; interfaceName: string }): Promise<void>;
  openGuestLinks(options: GuestLinkOptions): Promise<GuestLinks>;
  createImages(
    options: ImagesOptions,
  ): Promise<Pick<ImageService, "store" | "images" | "steps" | "authenticate" | "collect">>;
}

/**
 * Rebuilds everything from vSphere and serves. What an earlier engine left half done is finished in the background.
 * Rejects when vSphere, the bridge network or the link's port cannot be had.
 */
export async function assembleEngine(options: EngineOptions, parts: EngineParts): Promise<Engine> {
  const { vsphere, log } = options;
  const paths = enginePaths(vsphere.files.datastore, options.name);
  const table = new ContainerTable();
  const events = new EventLog();
  const record = await hostRecord(vsphere.files, paths, options.name);
  const networks = new NetworkTable({
    owner: options.name,
    defaults: defaultNetworks(options.name, options.bridge, record.created),
    containerNetworks: (options.containerNetworks ?? []).map((network) =>
      containerNetworkRecord(options.name, network, record.created),
    ),
    interfaceName: options.bridge.interfaceName,
    linkPort: options.link.port,
    store: new NetworkStore(vsphere.files, paths, log),
    portGroups: new PortGroups(vsphere, options.name, options.portGroups ?? {}),
    openBridgeNetwork: parts.openBridgeNetwork,
    removeBridgeNetwork: parts.removeBridgeNetwork,
    addressesInUse: (id) => addressesOn(table, id),
    names: (network) => nameLookup(table, network),
    log,
  });
  const isos = await bootstrapMedia(vsphere.files, paths, options.iso, log);
  const view = await vsphere.openView();
  const undo: (() => Promise<void>)[] = [() => view.close()];
  try {
    await networks.openDefault();
    undo.unshift(() => networks.close());
    const links = await parts.openGuestLinks({
      ...options.link,
      host: options.link.host ?? options.bridge.gateway,
      log,
    });
    undo.unshift(() => links.close());
    await networks.openOthers(links);

    const capacity = await vsphere.capacity();
    const untilDone = new UntilDone(log);
    undo.unshift(() => untilDone.close());
    const infrastructure: InfrastructureContext = {
      name: options.name,
      vsphere,
      view,
      paths,
      links,
      events,
      table,
      networks,
      changes: new Semaphore(VSPHERE_CONCURRENCY),
      untilDone,
      boots: new BootAdmission(capacity.cpus),
      isos,
      log,
      debug: options.debug ?? (() => undefined),
    };
    const loaders = new Loaders(infrastructure);
    undo.unshift(() => loaders.close());
    await loaders.removeLeftovers();
    const volumes = new VolumeStore(infrastructure, loaders);
    const imageService = await parts.createImages({
      files: vsphere.files,
      loaders,
      untilDone,
      usage: {
        containersOf: (imageId) =>
          table
            .all()
            .filter(
              ({ document }) =>
                document.image.id === imageId ||
                document.mounts.some((mount) => mount.type === "image" && mount.imageId === imageId),
            )
            .map(({ id, name, isRunning }) => ({ id, name, running: isRunning })),
      },
      registries: options.registries,
      publish: ({ action, id, attributes }) => events.publish("image", action, id, attributes),
      root: paths.images,
      platform: PLATFORM,
      userAgent: `vch/${options.build.version}`,
      log,
    });
    const peers = new PeerFeed({ table, networks, events, log });
    undo.unshift(async () => peers.close());
    const context: EngineContext = {
      ...infrastructure,
      peers,
      recentRuns: new RecentRuns(),
      loaders,
      volumes,
      images: imageService.store,
      containerRemoved: () => imageService.collect(),
      binds: options.binds ?? NO_BINDS,
      defaults: options.defaults,
      containerLimit: options.containerLimit ?? 0,
      capacity: { ...capacity, cpuMhz: Math.round(capacity.cpuMhz / Math.max(1, capacity.cpus)) },
    };
    for (const vm of view.list()) adopt(context, vm);
    const stopWatching = watchInventory(context);
    undo.unshift(async () => stopWatching());
    const space = new SpaceWaiters(vsphere, log);
    const followSpace = (vm: VirtualMachineReference, record: VirtualMachineRecord | undefined): void => {
      const container = table.byVm(vm);
      if (container) space.update(container.name, vm, record);
    };
    const stopFollowing = view.onChange((change) =>
      change.kind === "removed"
        ? followSpace(change.reference, undefined)
        : followSpace(change.record.reference, change.record),
    );
    for (const record of view.list()) followSpace(record.reference, record);
    undo.unshift(async () => {
      stopFollowing();
      space.close();
    });
    await volumes.load();
    const unfinished = unfinishedContainers(context);
    const reconciled = finishReconciliation(context)
      .then(() => removeUnfinished(context, unfinished))
      .catch((error: unknown) => {
        log(`reconciling: ${error instanceof Error ? error.message : error}`);
      });
    const builds = await makeBuilds({
      context,
      steps: imageService.steps,
      images: imageService.images,
      platform: PLATFORM,
      spoolDirectory: options.buildDirectory ?? join(tmpdir(), `vch-build-${options.name}`),
    });
    await pruneIsos(context);
    const settings = options.registries();
    return {
      containers: makeContainers(context),
      execs: new ContainerExecs(context),
      images: imageService.images,
      builds,
      volumes: makeVolumes(context),
      networks: makeNetworks(context),
      events,
      system: makeSystem(context, {
        images: imageService.images,
        build: options.build,
        insecureRegistries: settings.insecureRegistries,
        mirrors: settings.mirrors,
        authenticate: (credentials) => imageService.authenticate(credentials),
      }),
      close: async () => {
        await undoAll(undo, log);
        await reconciled;
      },
    };
  } catch (error) {
    await undoAll(undo, log);
    throw error;
  }
}

/** Takes away ISO files that nobody needs any more. A failure is no reason not to serve. */
async function pruneIsos({ isos, view, log }: EngineContext): Promise<void> {
  try {
    const removed = await isos.prune(isoUse(view));
    if (removed.length > 0) log(`bootstrap ISOs without a use were deleted: ${removed.join(", ")}`);
  } catch (error) {
    log(`bootstrap ISOs: ${error instanceof Error ? error.message : error}`);
  }
}

async function undoAll(undo: (() => Promise<void>)[], log: (message: string) => void): Promise<void> {
  for (const step of undo.splice(0)) {
    try {
      await step();
    } catch (error) {
      log(`closing: ${error instanceof Error ? error.message : error}`);
    }
  }
}
