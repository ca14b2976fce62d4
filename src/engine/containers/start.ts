/** Start: publish ports, bring the guest's configuration up to date if it differs, power on, wait for the first report. */

import { CONFIGURATION_CHUNKS_KEY, configurationChunkKey, type GuestState } from "../../link/guest-configuration.ts";
import { encodeConfiguration } from "../../link/guest-configuration-codec.ts";
import { NetworkError, type PortRequest, type PublishingEndpoint } from "../../network/contract.ts";
import { VSphereFault } from "../../vsphere/contract.ts";
import { prepareBinds } from "../binds/prepare.ts";
import type { EngineContext } from "../context.ts";
import { conflict, EngineError, invalid } from "../errors.ts";
import { START_TIMEOUT } from "../limits.ts";
import { publishingPlace } from "../networks/gateway-endpoint.ts";
import { networkSurroundings } from "../networks/surroundings.ts";
import { RW_DISK } from "../paths.ts";
import { deferred, within } from "../waiting.ts";
import type { Container } from "./container.ts";
import { diskMounts, publishNetworks, publishVolumes, volumeMounts } from "./container-events.ts";
import { destroyContainer } from "./destroy.ts";
import { type ContainerDocument, documentChunks, type EndpointRecord, encodeDocument, RUN_KEY } from "./document.ts";
import { guestConfiguration } from "./guest-document.ts";
import { machineSize } from "./host-config.ts";
import { changedEntries, writeEntries } from "./stored-entries.ts";
import { finish } from "./supervisor.ts";
import { Timeline } from "./timeline.ts";

/** A VM that should be on and still shows off after this long did not start. */
const POWER_ON_VISIBLE = 30_000;

/** Call inside the container's queue. Throws EngineError with Docker's texts. */
export async function startContainer(context: EngineContext, container: Container): Promise<void> {
  if (container.status === "paused") throw conflict("cannot start a paused container, try unpause instead");
  if (container.isRunning) throw new EngineError("not-modified", `container ${container.name} is already running`);
  await container.finishing;
  if (container.status === "removing" || container.status === "dead")
    throw conflict("container is marked for removal and cannot be started");
  try {
    // A refusal counts as a failed start: the CLI waits for the removal that --rm promises.
    refuseVolumesInUse(context, container);
    refuseLostNetworks(context, container);
    await prepareBinds(context.binds, container);
    const state = await powerOn(context, container);
    if (state.status === "failed") throw startFailure(state);
  } catch (error) {
    if (container.autoRemove) await removeFailed(context, container);
    throw error;
  }
}

async function powerOn(context: EngineContext, container: Container): Promise<GuestState> {
  const vm = container.virtualMachine;
  if (container.document.control === undefined && context.links.serial === undefined)
    throw conflict(
      `the control link of container ${container.name} goes over a serial port, and this endpoint serves none: start it with vch up --serial-address, or make the container anew`,
    );
  if (container.timeline.has("start")) container.timeline = new Timeline();
  const { timeline } = container;
  timeline.mark("start");
  const mounted = diskMounts(container).map((mount) => mount.path);
  const release = await context.loaders.reserve([`${context.paths.container(container.id)}/${RW_DISK}`, ...mounted]);
  const first = deferred<GuestState>();
  let booted = (): void => undefined;
  try {
    await publishPorts(context, container);
    booted = await context.boots.enter();
    await context.changes.run(async () => {
      const entries = startEntries(context, container);
      const size = sizeChange(context, container);
      if (Object.keys(entries).length > 0 || size) await writeEntries(context, container, entries, size);
      timeline.mark("configured");
      container.guest = undefined;
      container.health = [];
      container.logTail = undefined;
      container.starting = first;
      container.seenOn = false;
      await context.vsphere.powerOn(vm);
      timeline.mark("poweredOn");
    });
  } catch (error) {
    booted();
    container.starting = undefined;
    await context.networks.withdraw(container.id);
    container.published = [];
    throw translate(error, container);
  } finally {
    release();
  }
  context.recentRuns.add(container);
  publishNetworks(context.events, container, "connect");
  publishVolumes(context.events, container, "mount");
  const timer = setTimeout(() => {
    if (container.starting === first && context.view.get(vm)?.powerState === "poweredOff")
      unstarted(context, container);
  }, POWER_ON_VISIBLE);
  try {
    return await within(first.promise, START_TIMEOUT, () => {
      unstarted(context, container);
      throw new EngineError(
        "internal",
        `failed to create task for container: the guest of ${container.name} did not report within ${START_TIMEOUT / 1000} s: see tether.debug in the VM's directory`,
      );
    });
  } finally {
    clearTimeout(timer);
    booted();
  }
}

function unstarted(context: EngineContext, container: Container): void {
  finish(context, container, {
    version: 1,
    status: "failed",
    exitCode: 128,
    error: "the guest did not report that its process started",
  });
}

/** What of the VM's configuration must change for this start: often nothing. */
function startEntries(context: EngineContext, container: Container): Record<string, string> {
  const { stored } = container;
  const wanted: Record<string, string> = {
    ...guestEntries(context, container.document, container.attachments > 0, guestChunks(stored)),
    ...encodeDocument(container.document, documentChunks(stored)),
  };
  // A second run needs a mark, or its end would be taken for the first one's should the engine miss it.
  if (stored.has(RUN_KEY)) wanted[RUN_KEY] = JSON.stringify({ version: 1, status: "started" });
  return changedEntries(stored, wanted);
}

/** docker update may have changed the size while the VM could not change. */
function sizeChange(context: EngineContext, container: Container): { cpus: number; memoryMB: number } | undefined {
  const record = context.view.get(container.virtualMachine);
  const { cpus, memoryMB } = machineSize(container.document.hostConfig, context.defaults, context.capacity);
  if (!container.document.resized || !record || (record.cpus === cpus && record.memoryMB === memoryMB))
    return undefined;
  return { cpus, memoryMB };
}

export function guestChunks(stored: ReadonlyMap<string, string>): number {
  const text = stored.get(CONFIGURATION_CHUNKS_KEY) ?? "0";
  return /^\d{1,2}$/.test(text) ? Number(text) : 0;
}

/** The guest's configuration as extraConfig entries; entries of a longer earlier one are deleted by empty values. */
export function guestEntries(
  context: EngineContext,
  document: ContainerDocument,
  awaitAttach: boolean,
  previousChunks = 0,
): Record<string, string> {
  const entries = encodeConfiguration(
    guestConfiguration(document, {
      link: context.links.configuration,
      awaitAttach,
      vch: context.name,
      networks: networkSurroundings(context, document),
    }),
  );
  for (let index = Number(entries[CONFIGURATION_CHUNKS_KEY]); index < previousChunks; index++)
    entries[configurationChunkKey(index)] = "";
  return entries;
}

async function publishPorts(context: EngineContext, container: Container): Promise<void> {
  const endpoint = publishingPlace(context, container.document);
  if (!endpoint || container.document.ports.length === 0) return;
  container.published = await context.networks.publish(endpoint.networkId, publishingEndpoint(container, endpoint));
}

export const publishingEndpoint = (container: Container, { address, ipv6 }: EndpointRecord): PublishingEndpoint => ({
  containerId: container.id,
  containerName: container.name,
  address,
  ...(ipv6 ? { address6: ipv6.address } : {}),
  ports: portRequests(container.document),
});

function portRequests({ ports }: ContainerDocument): PortRequest[] {
  return ports.map((port) => ({
    containerPort: port.containerPort,
    protocol: port.protocol,
    hostAddress: port.hostAddress,
    ...(port.hostPort === undefined
      ? {}
      : { hostPort: port.hostPort.first === port.hostPort.last ? port.hostPort.first : port.hostPort }),
  }));
}

/** A VMDK can be open in one VM only. Said here, where it would fail, and not at create: compose makes the successor first. */
function refuseVolumesInUse(context: EngineContext, container: Container): void {
  const mine = new Set(volumeMounts(container).map((mount) => mount.name));
  if (mine.size === 0) return;
  for (const other of context.table.all()) {
    if (other === container || !(other.isRunning || other.starting)) continue;
    const shared = volumeMounts(other).find((mount) => mine.has(mount.name));
    if (shared)
      throw conflict(
        `volume ${shared.name} is in use by running container ${other.name}: a volume on a virtual disk serves one running container at a time. Stop that container first`,
      );
  }
}

/** A network may be removed while only stopped containers are on it. */
function refuseLostNetworks(context: EngineContext, container: Container): void {
  for (const { networkId } of Object.values(container.document.endpoints))
    if (!context.networks.byId(networkId))
      throw new EngineError("not-found", `failed to set up container networking: network ${networkId} not found`);
}

const LOCK_FAULTS = new Set(["FileLocked", "FileLock", "FileLockedFault", "DiskIsLocked"]);

function translate(error: unknown, container: Container): unknown {
  if (error instanceof NetworkError) {
    const kind = error.code === "invalid" ? "invalid" : error.code === "unsupported" ? "not-implemented" : "internal";
    return new EngineError(kind, error.message, { cause: error });
  }
  if (error instanceof VSphereFault) {
    if (LOCK_FAULTS.has(error.fault) || /lock/i.test(error.message))
      return new EngineError(
        "conflict",
        `a disk of container ${container.name} is in use by another VM: stop that VM first (vSphere says: ${error.message})`,
        { cause: error },
      );
    return new EngineError("internal", `vSphere cannot start container ${container.name}: ${error.message}`, {
      cause: error,
    });
  }
  return error;
}

/** Docker's error of a start that failed in the guest; the CLI reads exit codes 126 and 127 out of the text. */
export function startFailure(state: GuestState): EngineError {
  const message = `failed to create task for container: ${state.error ?? "the guest gave no reason"}`;
  switch (state.failure) {
    case "not-found":
    case "not-executable":
    case "bad-working-directory":
      return invalid(message);
    default:
      return new EngineError("internal", message);
  }
}

async function removeFailed(context: EngineContext, container: Container): Promise<void> {
  await container.finishing;
  if (context.table.byId(container.id) !== container) return;
  try {
    container.status = "removing";
    await destroyContainer(context, container, { volumes: true, marked: false });
  } catch (error) {
    container.status = "created";
    context.log(
      `container ${container.name}: removal after failed start: ${error instanceof Error ? error.message : error}`,
    );
  }
}
