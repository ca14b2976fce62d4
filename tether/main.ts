/**
 * PID 1 of a container VM or a loader VM. The boot medium's /init has mounted /proc, /sys, /dev, /run and /tmp and loaded
 * the kernel modules. Start-up time counts here: what a container does not need before its process runs is imported later.
 */
import { decodeConfiguration } from "../src/link/guest-configuration-codec.ts";
import { runContainer } from "./container/run.ts";
import { powerOffCleanly } from "./power.ts";
import { reapOrphans } from "./process/reaper.ts";
import { GuestInfo } from "./rpci/guest-info.ts";
import { kernelMilliseconds, StateReport } from "./state.ts";

/** Milliseconds that a report of a failed boot may take before the VM goes off anyway. */
const REPORT_LIMIT = 10_000;

/** Nothing may end PID 1: the kernel would panic. What nobody awaited is told on the console. */
const surviveErrors = (): void => {
  process.on("uncaughtException", (error) => console.error("tether: uncaught:", error));
  process.on("unhandledRejection", (error) => console.error("tether: unhandled:", error));
};

const main = async (): Promise<void> => {
  surviveErrors();
  const begun = kernelMilliseconds();
  const guestInfo = new GuestInfo();
  const state = new StateReport(guestInfo);
  state.phase("program", begun);
  try {
    const configuration = await decodeConfiguration((key) => guestInfo.get(key));
    state.phase("configured");
    if (configuration.role === "container") {
      await runContainer(configuration, state);
    } else {
      reapOrphans();
      const { runLoader } = await import("./loader/run.ts");
      await runLoader(configuration, state);
    }
  } catch (error) {
    console.error("tether:", error);
    const reported = state.update({
      status: "failed",
      failure: "configuration",
      exitCode: 128,
      error: error instanceof Error ? error.message : String(error),
    });
    await Promise.race([reported, Bun.sleep(REPORT_LIMIT)]);
  }
  powerOffCleanly();
};

/** The same program does a second task in another process: see tree/helper.ts. */
const task = async (): Promise<void> => {
  if (process.argv[2] !== "serve-tree") return await main();
  const { serveTree } = await import("./tree/serve.ts");
  await serveTree();
  process.exit(0);
};

task().catch((error: unknown) => {
  console.error("tether:", error);
  powerOffCleanly();
});
