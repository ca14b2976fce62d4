/** The mounts of a new container: makes the volumes that are not there yet, and gives every disk its place. */
import { bindRecord } from "../binds/prepare.ts";
import type { EngineContext } from "../context.ts";
import type { HostConfig } from "../contract.ts";
import { invalid } from "../errors.ts";
import { SCSI_CONTROLLERS, SCSI_RESERVED_UNIT, SCSI_UNITS } from "../limits.ts";
import { imageMountDisk } from "../paths.ts";
import { volumeMounts } from "./container-events.ts";
import type { BindMount, ImageMount, MountRecord, VolumeMount } from "./document.ts";
import type { PlannedImage, PlannedMount } from "./mount-plan.ts";

/** Of --volumes-from. */
export function inheritedMounts(context: EngineContext, hostConfig: Partial<HostConfig>): (VolumeMount | BindMount)[] {
  return (hostConfig.VolumesFrom ?? []).flatMap((text) => {
    const [reference = "", mode = "rw"] = text.split(":");
    if (!["ro", "rw"].includes(mode)) throw invalid(`invalid mode for volumes-from: ${mode}`);
    return context.table
      .get(reference)
      .document.mounts.filter((mount) => mount.type === "volume" || mount.type === "bind")
      .map((mount) => (mode === "ro" ? { ...mount, readOnly: true } : mount));
  });
}

/** What a create has to undo, let go of, or tell. */
export interface MountsMade {
  /** Names of new anonymous volumes. */
  volumes: string[];
  /** Releases of the images that are mounted. */
  holds: (() => void)[];
  warnings: string[];
}

export async function mountsOf(
  context: EngineContext,
  containerId: string,
  plan: readonly PlannedMount[],
  made: MountsMade,
): Promise<MountRecord[]> {
  const free = addressesAfterRoot();
  const disks = new Map<string, { bus: number; unit: number }>();
  const mounts: MountRecord[] = [];
  for (const planned of plan) {
    if (planned.type === "tmpfs") {
      mounts.push(planned);
      continue;
    }
    if (planned.type === "bind") {
      mounts.push(await bindRecord(context.binds, planned));
      continue;
    }
    if (planned.type === "image") {
      const disk = free.next().value ?? tooManyDisks();
      mounts.push({ ...(await imageMount(context, containerId, planned, mounts.length, made.holds)), disk });
      continue;
    }
    const isNew = planned.name === undefined;
    const record = await context.volumes.ensure({
      ...(planned.name === undefined ? { owner: containerId } : { name: planned.name }),
      ...(planned.driver ? { driver: planned.driver } : {}),
      options: planned.driverOptions,
      labels: planned.labels,
    });
    if (isNew) made.volumes.push(record.name);
    const disk = disks.get(record.name) ?? free.next().value ?? tooManyDisks();
    disks.set(record.name, disk);
    warnIfBusy(context, record.name, made.warnings);
    mounts.push({
      type: "volume",
      name: record.name,
      driver: record.driver,
      anonymous: record.anonymous,
      destination: planned.destination,
      readOnly: planned.readOnly,
      copyUp: planned.copyUp && !planned.readOnly,
      ...(planned.subpath === undefined ? {} : { subpath: planned.subpath }),
      mode: planned.mode,
      disk,
      path: context.volumes.path(record.name),
    });
  }
  return mounts;
}

function tooManyDisks(): never {
  throw invalid(`too many volumes: a VM has ${SCSI_CONTROLLERS * (SCSI_UNITS - 1)} disks at most`);
}

async function imageMount(
  context: EngineContext,
  containerId: string,
  { reference, destination, readOnly, subpath }: PlannedImage,
  index: number,
  holds: (() => void)[],
): Promise<Omit<ImageMount, "disk">> {
  const image = await context.images.resolve(reference);
  holds.push(context.images.hold(image.id));
  return {
    type: "image",
    reference,
    imageId: image.id,
    destination,
    readOnly,
    ...(subpath === undefined ? {} : { subpath }),
    path: `${context.paths.container(containerId)}/${imageMountDisk(index)}`,
  };
}

function warnIfBusy(context: EngineContext, volume: string, warnings: string[]): void {
  const user = context.table
    .all()
    .find((other) => other.isRunning && volumeMounts(other).some(({ name }) => name === volume));
  if (user)
    warnings.push(
      `Volume ${volume} is in use by running container ${user.name}: this container can start when that one has stopped.`,
    );
}

function* addressesAfterRoot(): Generator<{ bus: number; unit: number }, undefined> {
  for (let bus = 0; bus < SCSI_CONTROLLERS; bus++)
    for (let unit = 0; unit < SCSI_UNITS; unit++)
      if (unit !== SCSI_RESERVED_UNIT && !(bus === 0 && unit === 0)) yield { bus, unit };
  return undefined;
}
