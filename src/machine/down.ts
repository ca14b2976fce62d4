import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createHypervisor } from "../lab/hypervisor/index.ts";
import { removeBridgeNetwork } from "../network/bridge-network.ts";
import { stopDaemon } from "./daemon.ts";
import { log } from "./log.ts";
import type { StatePaths } from "./paths.ts";
import { readSettings } from "./settings.ts";

export interface DownRequest {
  /** Also remove images, containers, volumes, certificates: the whole state directory. */
  deleteState: boolean;
  say: (line: string) => void;
}

/**
 * Stops the endpoint, the lab and every VM, and takes away what they made in the kernel. Whatever is gone already, or was
 * left by a killed process, is no error.
 */
export async function bringDown(paths: StatePaths, request: DownRequest): Promise<void> {
  const settings = await readSettings(paths);
  if (settings === undefined) {
    request.say(`Nothing to stop: there is no VCH in ${paths.root}.`);
    return;
  }
  if (await stopDaemon(paths, "serve")) request.say("Endpoint stopped.");
  if (await stopDaemon(paths, "lab")) request.say("Lab stopped.");
  if (settings.bridge.interfaceName !== undefined) await removeBridgeNetwork({ owner: settings.name });
  if (settings.lab !== undefined) {
    // The lab's VMs outlive it by design, so they are ended here, together with its bridges and taps.
    const hypervisor = await createHypervisor({
      stateDirectory: paths.lab,
      runDirectory: join(paths.run, "lab"),
      // It starts nothing, so it opens no disk.
      diskRoots: [],
      events: {
        stopped: () => undefined,
        outOfSpace: () => undefined,
        guestInfo: () => ({ get: () => undefined, set: () => undefined }),
      },
      log: log("hypervisor"),
    });
    await hypervisor.dispose({ stopMachines: true });
    request.say("Container VMs ended; bridges and taps removed.");
  }
  if (request.deleteState) {
    await rm(paths.root, { recursive: true, force: true });
    request.say(`Deleted ${paths.root}.`);
  } else await rm(paths.run, { recursive: true, force: true });
}
