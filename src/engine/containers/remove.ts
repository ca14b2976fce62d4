/** `docker rm`. */
import type { EngineContext } from "../context.ts";
import { conflict } from "../errors.ts";
import type { Container } from "./container.ts";
import { destroyContainer } from "./destroy.ts";
import { killContainer } from "./stop.ts";

export async function removeContainer(
  context: EngineContext,
  container: Container,
  options: { force: boolean; volumes: boolean },
): Promise<void> {
  if (container.status === "removing" || container.status === "dead") {
    if (container.autoRemove || container.status === "dead") {
      await container.removed.promise;
      return;
    }
    // Forced, it waits its turn below: an endpoint that has just started may be finishing the removal, and that may fail.
    if (!options.force) throw conflict(`removal of container ${container.id} is already in progress`);
  }
  if (container.isRunning && !options.force)
    throw conflict(
      container.status === "paused"
        ? `cannot remove container "/${container.name}": container is paused and must be unpaused first`
        : `cannot remove container "/${container.name}": container is running: stop the container before removing or force remove`,
    );
  // Not behind a stop that waits for the process: that one ends by this.
  if (container.isRunning) await killContainer(context, container);
  await container.queue.run(async () => {
    if (context.table.byId(container.id) !== container) return;
    if (container.isRunning) {
      if (!options.force)
        throw conflict(
          `cannot remove container "/${container.name}": container is running: stop the container before removing or force remove`,
        );
      await killContainer(context, container);
    }
    await container.finishing;
    if (context.table.byId(container.id) !== container) return;
    const before = container.status;
    container.status = "removing";
    try {
      await destroyContainer(context, container, { volumes: options.volumes, marked: true });
    } catch (error) {
      container.status = before;
      throw error;
    }
  });
}
