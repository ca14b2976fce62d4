/** Take a container's VM apart and let go of everything it had: name, ports, anonymous volumes. */
import type { EngineContext } from "../context.ts";
import { EngineError } from "../errors.ts";
import { bindingsOf } from "../networks/endpoints.ts";
import { RW_DISK } from "../paths.ts";
import type { Container } from "./container.ts";
import { diskMounts, publishContainer, volumeMounts } from "./container-events.ts";
import { REMOVING_KEY } from "./document.ts";
import { writeEntries } from "./stored-entries.ts";

/** The VM must be off. `marked` writes first that removal began; not needed where a restarted engine would remove it anyway. */
export async function destroyContainer(
  context: EngineContext,
  container: Container,
  options: { volumes: boolean; marked: boolean },
): Promise<void> {
  const { vsphere, volumes, loaders } = context;
  const vm = container.virtualMachine;
  const mounts = volumeMounts(container);
  const anonymous = mounts.filter((mount) => mount.anonymous).map((mount) => mount.name);
  const release = await loaders.reserve(
    diskMounts(container)
      .map((mount) => mount.path)
      .concat(`${context.paths.container(container.id)}/${RW_DISK}`),
  );
  try {
    await context.changes.run(async () => {
      if (options.marked)
        await writeEntries(context, container, { [REMOVING_KEY]: options.volumes ? "volumes" : "yes" });
      // Volumes that outlive their container must not count as left over from a create that was cut off.
      if (!options.volumes) for (const name of anonymous) await volumes.keep(name);
      await vsphere.destroyVm(vm, { keepDisks: mounts.map((mount) => mount.path) });
    });
  } finally {
    release();
  }
  container.timeline.mark("destroyed");
  await context.networks.unbind(bindingsOf(context, container.document));
  context.table.destroyed(container);
  container.status = "dead";
  publishContainer(context.events, container, "destroy");
  container.removed.resolve();
  container.wake();
  await context.containerRemoved().catch((error: unknown) => {
    context.log(`images: ${error instanceof Error ? error.message : error}`);
  });
  if (options.volumes)
    for (const name of new Set(anonymous)) {
      try {
        await volumes.remove(name, { force: true });
      } catch (error) {
        // Another container may use it by now (--volumes-from); Docker keeps it then, too.
        if (!(error instanceof EngineError && error.kind === "conflict"))
          context.log(`volume ${name}: ${error instanceof Error ? error.message : error}`);
      }
    }
}
