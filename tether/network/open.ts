import type { Container } from "../container/container.ts";
import type { LiveNetwork } from "./live.ts";

/**
 * The container's live network, made at its first use: before the process where that asks for names, and otherwise when the
 * engine has something to change. Its code is loaded only then.
 */
export const openLiveNetwork = (container: Container): Promise<LiveNetwork> => {
  container.network ??= (async () => {
    const { LiveNetwork } = await import("./live.ts");
    const unlinked = { useEndpoints: () => undefined, isResumable: false };
    const network = new LiveNetwork(
      container.configuration,
      container.tree.private,
      () => container.link ?? unlinked,
      (leases) => void container.state.update({ leases }),
    );
    await network.begin();
    return network;
  })();
  return container.network;
};
