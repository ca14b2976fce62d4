/** `docker create`: check, plan, make volumes, then one CreateVM that carries everything. */

import { NetworkError } from "../../network/contract.ts";
import { type DatastorePath, type DiskSpec, type SerialPortSpec, VSphereFault } from "../../vsphere/contract.ts";
import type { EngineContext } from "../context.ts";
import type { ContainerConfig, ContainerCreateBody, HostConfig } from "../contract.ts";
import { EngineError, invalid, notFound } from "../errors.ts";
import { newId, newToken, uuidOf, virtualMachineName } from "../identifiers.ts";
import type { StoredImage } from "../images/contract.ts";
import { type BootMedium, checkIsoName, ISO_LABEL } from "../isos/record.ts";
import { isoEntry } from "../isos/usage.ts";
import { adaptersOf, bindingsOf, type MadeEndpoints, makeEndpoints, wantedEndpoints } from "../networks/endpoints.ts";
import { checkOpenPorts } from "../networks/open-ports.ts";
import { CONSOLE_LOG, RW_DISK } from "../paths.ts";
import { formatTime, nowNanoseconds } from "../time.ts";
import { capabilitySet } from "./capabilities.ts";
import { Container } from "./container.ts";
import { publishContainer, volumeMounts } from "./container-events.ts";
import { inheritedMounts, mountsOf } from "./container-mounts.ts";
import { type ContainerDocument, encodeDocument } from "./document.ts";
import { diskShares } from "./disk-shares.ts";
import { checkFields } from "./fields.ts";
import { checkConfig, checkHostConfig, machineSize } from "./host-config.ts";
import { commandLine, mergeImage } from "./image-merge.ts";
import { planMounts } from "./mount-plan.ts";
import { portMappings } from "./ports.ts";
import { seccompFilter } from "./seccomp/index.ts";
import { parseSize } from "./sizes.ts";
import { guestEntries } from "./start.ts";
import { followSession } from "./supervisor.ts";
import { epochMilliseconds } from "./timeline.ts";

/** Docker's architecture names by their aliases. */
const ARCHITECTURES: Record<string, string> = { x86_64: "amd64", aarch64: "arm64" };

export async function createContainer(
  context: EngineContext,
  wanted: string | undefined,
  body: ContainerCreateBody,
  platform: string | undefined,
  options: { intermediate: boolean } = { intermediate: false },
): Promise<{ Id: string; Warnings: string[] }> {
  const begun = epochMilliseconds();
  checkFields(body);
  const { HostConfig: given, NetworkingConfig: networking, ...configGiven } = body;
  const hostConfig: Partial<HostConfig> = given ?? {};
  const config: Partial<ContainerConfig> = configGiven;
  checkConfig(config);
  checkHostConfig(hostConfig);
  const capabilities = capabilitySet(hostConfig.CapAdd ?? [], hostConfig.CapDrop ?? [], hostConfig.Privileged === true);
  const size = machineSize(hostConfig, context.defaults, context.capacity);
  const { mode, wanted: networks } = wantedEndpoints(context, config, hostConfig, networking);
  if (!config.Image) throw invalid("config cannot be empty in order to create a container");
  const image = await context.images.resolve(config.Image);
  checkPlatform(image, platform);
  checkRootSize(image, hostConfig);
  seccompFilter(hostConfig, capabilities, image.architecture);
  const medium = await context.isos.medium(chosenIso(config, hostConfig));
  if (context.containerLimit > 0 && context.table.size >= context.containerLimit)
    throw new EngineError(
      "forbidden",
      `virtual container host ${context.name} holds ${context.table.size} containers and its limit is ${context.containerLimit}: remove one, or ask the administrator to raise the limit`,
    );

  const id = newId();
  const warnings: string[] = [];
  const holds = [context.images.hold(image.id)];
  const reservation = context.table.reserve(id, wanted);
  const madeVolumes: string[] = [];
  let places: MadeEndpoints | undefined;
  try {
    const merged = mergeImage(config, image.config);
    const plan = planMounts(hostConfig, Object.keys(merged.Volumes ?? {}), inheritedMounts(context, hostConfig));
    const mounts = await mountsOf(context, id, plan, { volumes: madeVolumes, holds, warnings });
    for (const link of hostConfig.Links ?? []) context.table.get(link.split(":")[0] ?? "");
    places = makeEndpoints(context, networks);
    const document: ContainerDocument = {
      version: 1,
      id,
      name: reservation.name,
      created: formatTime(nowNanoseconds()),
      iso: medium.name,
      image: {
        reference: config.Image,
        id: image.id,
        architecture: image.architecture,
        os: image.os,
        sizeBytes: image.sizeBytes,
      },
      config: merged,
      hostConfig: { ...hostConfig, NetworkMode: mode },
      command: commandLine(merged),
      endpoints: places.endpoints,
      control: places.control,
      ports: portMappings(
        hostConfig.PortBindings,
        Object.keys(merged.ExposedPorts ?? {}),
        hostConfig.PublishAllPorts === true,
      ),
      mounts,
      token: newToken(),
      capabilities,
      ...(options.intermediate ? { intermediate: true } : {}),
    };
    checkOpenPorts(context, document);
    const container = new Container(document, (self, session) => followSession(context, self, session));
    container.timeline.mark("create", begun);
    // Kept for as long as the container exists: somebody else, such as vSphere HA, may power its VM on.
    await context.networks.bind(bindingsOf(context, document));
    await makeVirtualMachine(context, container, image, size, medium);
    container.timeline.mark("created");
    publishContainer(context.events, container, "create");
    return { Id: id, Warnings: warnings };
  } catch (error) {
    for (const name of madeVolumes) await removeMadeVolume(context, name);
    if (places && !context.table.byId(id)) await context.networks.unbind(bindingsOf(context, places));
    throw error instanceof NetworkError
      ? new EngineError(error.code === "invalid" ? "invalid" : "conflict", error.message, { cause: error })
      : error;
  } finally {
    places?.release();
    reservation.release();
    for (const release of holds) release();
  }
}

/** The bootstrap ISO that the client names: as the runtime, or by a label where it knows no runtimes. */
function chosenIso({ Labels }: Partial<ContainerConfig>, { Runtime }: Partial<HostConfig>): string | undefined {
  const label = Labels?.[ISO_LABEL];
  if (label !== undefined && Runtime && label !== Runtime)
    throw invalid(`runtime ${Runtime} and label ${ISO_LABEL}=${label} name different bootstrap ISOs: give one of them`);
  const name = Runtime || label;
  return name === undefined ? undefined : checkIsoName(name);
}

async function removeMadeVolume(context: EngineContext, name: string): Promise<void> {
  try {
    await context.volumes.remove(name, { force: true });
  } catch (error) {
    // It carries its owner's id: the next start removes it.
    context.log(`volume ${name} of a failed create: ${error instanceof Error ? error.message : error}`);
  }
}

async function makeVirtualMachine(
  context: EngineContext,
  container: Container,
  image: StoredImage,
  size: ReturnType<typeof machineSize>,
  medium: BootMedium,
): Promise<void> {
  const { document } = container;
  const directory = context.paths.container(document.id);
  const attached = new Map(volumeMounts(container).map((mount) => [mount.path, mount]));
  const shares = diskShares(document.hostConfig);
  const attach = (disk: DiskSpec, ioShares = shares.others): DiskSpec =>
    ioShares === undefined ? disk : { ...disk, ioShares };
  const disks: DiskSpec[] = [
    attach(
      { bus: 0, unit: 0, path: `${directory}/${RW_DISK}`, mode: "persistent", create: { parent: image.disk.path } },
      shares.root,
    ),
    ...[...attached.values()].map(({ disk, path }) => attach({ ...disk, path, mode: "independent_persistent" })),
    ...document.mounts
      .filter((mount) => mount.type === "image")
      .map(({ disk, path, imageId }) =>
        attach({ ...disk, path, mode: "persistent", create: { parent: context.images.diskOf(imageId) } }),
      ),
  ];
  const { AttachStdin, AttachStdout, AttachStderr } = document.config;
  // What the client's attach flags say is nearly always what start finds: then start needs no reconfigure.
  const awaitAttach = AttachStdin === true || AttachStdout === true || AttachStderr === true;
  const forget = context.links.expect(document.token, container);
  void container.removed.promise.then(forget, forget);
  const entries = {
    ...encodeDocument(document),
    ...isoEntry(medium.path),
    ...guestEntries(context, document, awaitAttach),
  };
  try {
    await context.changes.run(async () => {
      const vm = await context.vsphere.createVm({
        name: virtualMachineName(document.name, document.id),
        uuid: uuidOf(document.id),
        annotation: annotation(context.name, document),
        directory,
        ...size,
        firmware: medium.firmware,
        cdrom: { path: medium.path, bus: medium.cdromBus },
        disks,
        networkAdapters: adaptersOf(context, document),
        serialPorts: serialPortsOf(context, document, directory),
        extraConfig: entries,
      });
      container.stored = new Map(Object.entries(entries));
      context.table.add(container, vm);
    });
  } catch (error) {
    forget();
    // Only when vSphere refused: after a lost answer the VM may be there, and the next start finds out.
    if (error instanceof VSphereFault)
      await context.vsphere.files.remove(directory).catch((problem: unknown) => {
        context.log(`${directory}: ${problem instanceof Error ? problem.message : problem}`);
      });
    throw error;
  }
}

/** The console log, and behind it the serial carrier: LINK_SERIAL_PORT in the guest. */
function serialPortsOf(
  { links }: EngineContext,
  document: ContainerDocument,
  directory: DatastorePath,
): SerialPortSpec[] {
  const consoleLog: SerialPortSpec = { kind: "file", path: `${directory}/${CONSOLE_LOG}` };
  return document.control === undefined && links.serial ? [consoleLog, links.serial.device] : [consoleLog];
}

/** What an administrator reads in the VM's notes. */
export function annotation(vch: string, document: ContainerDocument): string {
  const labels = Object.entries(document.config.Labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return [
    `Container ${document.name} of virtual container host ${vch}`,
    `id: ${document.id}`,
    `image: ${document.image.reference}`,
    `command: ${document.command.join(" ").slice(0, 200)}`,
    ...(labels.length > 0 ? [`labels: ${labels.join(", ").slice(0, 1000)}`] : []),
  ].join("\n");
}

function checkPlatform(image: StoredImage, platform: string | undefined): void {
  const [os, architecture] = platform ? platform.split("/") : [];
  const wanted = architecture === undefined ? undefined : (ARCHITECTURES[architecture] ?? architecture);
  if (platform && ((os && os !== image.os) || (wanted && wanted !== image.architecture)))
    throw notFound(
      `image with reference ${image.id} was found but does not provide the specified platform (${platform})`,
    );
}

/** The root disk has its image's capacity, so that a limit can be lower and not higher. */
function checkRootSize({ disk, sizeBytes }: StoredImage, { StorageOpt }: Partial<HostConfig>): void {
  const size = parseSize(StorageOpt?.size ?? "");
  if (size === undefined) return;
  if (size > disk.capacityBytes)
    throw invalid(
      `storage-opt size ${StorageOpt?.size} is more than the root disk's ${disk.capacityBytes} bytes, which it has from its image: put large data on a volume with -o Capacity=…`,
    );
  if (size < sizeBytes)
    throw invalid(
      `storage-opt size ${StorageOpt?.size} is less than the image's ${sizeBytes} bytes: give a larger one`,
    );
}
