/**
 * Restart policies where the guest cannot keep them: its VM is off. The tether restarts the process in a VM that runs; here a
 * whole VM starts again, after a crash of the VM or its host, or when the endpoint comes back after the machine did.
 */
import type { EngineContext } from "../context.ts";
import type { HostConfig } from "../contract.ts";
import { within } from "../waiting.ts";
import type { Container } from "./container.ts";
import type { RunRecord } from "./document.ts";
import { startContainer } from "./start.ts";

/** Docker's delays between restarts: they double from the first to the longest. */
const FIRST_DELAY = 100;
const LONGEST_DELAY = 60_000;

/** Docker's rule at the start of its daemon. A container that never ran is not started. */
export function isToBeRestarted(policy: HostConfig["RestartPolicy"], run: RunRecord | undefined): boolean {
  if (run?.startedAt === undefined) return false;
  switch (policy?.Name) {
    case "always":
      return true;
    case "unless-stopped":
      return run.stopped !== true;
    case "on-failure": {
      const limit = policy.MaximumRetryCount ?? 0;
      return run.stopped !== true && run.exitCode !== 0 && (limit === 0 || (run.restartCount ?? 0) < limit);
    }
    default:
      return false;
  }
}

/** Call inside the container's queue when the endpoint starts. Never rejects. */
export async function restartAtStart(context: EngineContext, container: Container): Promise<void> {
  if (container.isRunning || !isToBeRestarted(container.document.hostConfig.RestartPolicy, container.run)) return;
  context.log(`container ${container.name}: started by its restart policy`);
  await started(context, container);
}

/** The VM went off without a word of its guest, and nobody had asked for it. Never rejects. */
export async function restartLost(context: EngineContext, container: Container): Promise<void> {
  await container.finishing;
  if (!isToBeRestarted(container.document.hostConfig.RestartPolicy, container.run)) return;
  const delay = Math.min(FIRST_DELAY * 2 ** container.lostRuns, LONGEST_DELAY);
  container.lostRuns++;
  const removed = await within(
    container.removed.promise.then(() => true),
    delay,
    () => false,
  );
  if (removed || context.table.byId(container.id) !== container) return;
  context.log(`container ${container.name}: its VM went off by itself; started by its restart policy`);
  await container.queue.run(async () => {
    // Somebody may have been faster: vSphere HA, an administrator, a user.
    if (!container.isRunning && container.status === "exited") await started(context, container);
  });
}

async function started(context: EngineContext, container: Container): Promise<void> {
  try {
    await startContainer(context, container);
  } catch (error) {
    context.log(
      `container ${container.name}: cannot be restarted: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
