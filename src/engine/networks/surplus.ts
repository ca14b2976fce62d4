/** vNICs that must go: of networks that are removed, and what a change that was cut off left behind. */
import type { Container } from "../containers/container.ts";
import type { EngineContext } from "../context.ts";
import { containersOn } from "./describe.ts";
import type { NetworkRecord } from "./network-record.ts";

/**
 * Takes stopped containers off a network that is about to go. They keep their place on it, as in Docker, and can only start
 * again when they have been disconnected from it.
 */
export async function detachStopped(context: EngineContext, network: NetworkRecord): Promise<void> {
  for (const container of containersOn(context, network))
    await container.queue.run(async () => {
      const adapters = context.view.get(container.virtualMachine)?.networkAdapters ?? [];
      const gone = adapters.filter((adapter) => adapter.network === network.portGroup);
      await removeAdapters(context, container, gone);
    });
}

/** A vNIC that the container's document does not know: a connect or disconnect was cut off. */
export async function removeSurplus(context: EngineContext, container: Container): Promise<void> {
  const { endpoints, control } = container.document;
  const known = new Set([control?.macAddress, ...Object.values(endpoints).map(({ macAddress }) => macAddress)]);
  const adapters = context.view.get(container.virtualMachine)?.networkAdapters ?? [];
  await removeAdapters(
    context,
    container,
    adapters.filter(({ macAddress }) => macAddress !== "" && !known.has(macAddress)),
  );
}

async function removeAdapters(
  context: EngineContext,
  container: Container,
  adapters: readonly { macAddress: string }[],
): Promise<void> {
  if (adapters.length === 0) return;
  await context.vsphere.reconfigureVm(container.virtualMachine, {
    removeNetworkAdapters: adapters.map(({ macAddress }) => ({ macAddress })),
  });
}
