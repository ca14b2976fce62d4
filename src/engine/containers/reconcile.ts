/** Start of the engine: take up every container from inventory, finish what an earlier engine left half done. */

import { STATE_KEY } from "../../link/guest-configuration.ts";
import { decodeState } from "../../link/guest-configuration-codec.ts";
import type { PublishingEndpoint } from "../../network/contract.ts";
import type { VirtualMachineRecord } from "../../vsphere/contract.ts";
import type { EngineContext } from "../context.ts";
import { bindingsOf } from "../networks/endpoints.ts";
import { publishingPlace } from "../networks/gateway-endpoint.ts";
import { removeSurplus } from "../networks/surplus.ts";
import { CONSOLE_LOG } from "../paths.ts";
import { formatTime, nowNanoseconds } from "../time.ts";
import { Container } from "./container.ts";
import { destroyContainer } from "./destroy.ts";
import { decodeDocument, decodeRun, REMOVING_KEY, RUN_KEY, type RunRecord } from "./document.ts";
import { restartAtStart, restartLost } from "./restart-policy.ts";
import { publishingEndpoint } from "./start.ts";
import { withStoppedDisk } from "./stopped-disk.ts";
import { writeEntries } from "./stored-entries.ts";
import { EXIT_KILLED, followSession, reportOf, runRecord, virtualMachineChanged } from "./supervisor.ts";

/** Adds the container of a VM to the table; undefined when the VM is no container of ours. */
export function adopt(context: EngineContext, record: VirtualMachineRecord): Container | undefined {
  let container: Container;
  try {
    const document = decodeDocument(record.extraConfig);
    if (!document || context.table.isTransient(document.id)) return undefined;
    container = new Container(document, (self, session) => followSession(context, self, session));
  } catch (error) {
    context.log(
      `VM ${record.name}: its container document is damaged: ${error instanceof Error ? error.message : error}`,
    );
    return undefined;
  }
  container.stored = new Map(record.extraConfig);
  container.seenOn = record.powerState !== "poweredOff";
  container.run = decodeRun(record.extraConfig);
  context.table.add(container, record.reference);
  const forget = context.links.expect(container.document.token, container);
  void container.removed.promise.then(forget);
  if (record.powerState === "poweredOff") {
    container.status =
      container.run?.startedAt !== undefined || container.run?.status === "exited" ? "exited" : "created";
    if (container.run?.boot !== undefined) container.bootFinished(container.run.boot);
    return container;
  }
  if (container.run?.boot !== undefined) container.bootFinished(container.run.boot);
  container.run = { version: 1, status: "started" };
  container.status = record.powerState === "suspended" ? "paused" : "running";
  reportOf(context, container, record);
  return container;
}

/** Inventory drives everything from now on. Returns the function that stops listening. */
export function watchInventory(context: EngineContext): () => void {
  return context.view.onChange((change) => {
    const reference = change.kind === "removed" ? change.reference : change.record.reference;
    const container = context.table.byVm(reference);
    if (container) {
      const lost = virtualMachineChanged(context, container, change);
      void lost?.then((isLost) => (isLost ? restartLost(context, container) : undefined));
    } else if (change.kind === "updated") adopt(context, change.record);
  });
}

/** The part that needs loaders, ports and time; containers are already listed meanwhile. */
export async function finishReconciliation(context: EngineContext): Promise<void> {
  await republish(context);
  await Promise.all(
    context.table.all().map(async (container) => {
      try {
        await container.queue.run(() => settleStopped(context, container));
        await container.queue.run(() => removeSurplus(context, container));
      } catch (error) {
        context.log(`container ${container.name}: reconciling: ${error instanceof Error ? error.message : error}`);
      }
    }),
  );
  await removeHalfMade(context);
}

async function republish(context: EngineContext): Promise<void> {
  const endpoints = new Map<string, PublishingEndpoint[]>();
  for (const container of context.table.all()) {
    const endpoint = publishingPlace(context, container.document);
    if (!container.isRunning || !endpoint || container.document.ports.length === 0) continue;
    const sameNetwork = endpoints.get(endpoint.networkId) ?? [];
    endpoints.set(endpoint.networkId, [...sameNetwork, publishingEndpoint(container, endpoint)]);
  }
  const { published, failures } = await context.networks.reconcile(
    endpoints,
    context.table.all().flatMap(({ document }) => bindingsOf(context, document)),
  );
  for (const [id, ports] of published) {
    const container = context.table.byId(id);
    if (container) container.published = ports;
  }
  for (const { containerId, error } of failures)
    context.log(`container ${context.table.byId(containerId)?.name ?? containerId}: ${error.message}`);
}

/** A VM that is off: finish its removal, or find out how its last run ended. */
async function settleStopped(context: EngineContext, container: Container): Promise<void> {
  const record = context.view.get(container.virtualMachine);
  if (record?.powerState !== "poweredOff" || container.isRunning) return;
  const removing = record.extraConfig.get(REMOVING_KEY);
  if (removing) {
    container.status = "removing";
    await destroyContainer(context, container, { volumes: removing === "volumes", marked: false });
    return;
  }
  const run = container.run;
  if (run?.status !== "exited" && run?.status !== "failed" && (await hasRun(context, container))) {
    container.run = await lastRun(context, container, record);
    container.status =
      container.run.startedAt === undefined && container.run.status === "failed" ? "created" : "exited";
    if (!container.autoRemove) await writeEntries(context, container, { [RUN_KEY]: JSON.stringify(container.run) });
  }
  if (container.autoRemove && container.run !== undefined) {
    container.status = "removing";
    await destroyContainer(context, container, { volumes: true, marked: false });
    return;
  }
  await restartAtStart(context, container);
}

/** vSphere makes the console log when it powers the VM on. */
async function hasRun(context: EngineContext, container: Container): Promise<boolean> {
  if (container.run?.status === "started") return true;
  return await context.vsphere.files.exists(`${context.paths.container(container.id)}/${CONSOLE_LOG}`);
}

/** From guestinfo if vSphere still has it, else from the RW disk; a run without a last word counts as killed. */
async function lastRun(context: EngineContext, container: Container, record: VirtualMachineRecord): Promise<RunRecord> {
  const text = record.extraConfig.get(STATE_KEY);
  const reported = text ? decodeState(text) : undefined;
  const fresh = reported && !container.isStale(reported.boot) ? reported : undefined;
  const isFinal = (status: string | undefined): boolean => status === "exited" || status === "failed";
  const state = isFinal(fresh?.status) ? fresh : await stateOnDisk(context, container);
  if (state && isFinal(state.status)) return runRecord(state, state.status === "failed" ? "failed" : "exited");
  const begun = state ?? fresh;
  return {
    version: 1,
    status: "exited",
    boot: begun?.boot,
    startedAt: begun?.startedAt ?? container.document.created,
    finishedAt: formatTime(nowNanoseconds()),
    exitCode: EXIT_KILLED,
    error: "",
  };
}

async function stateOnDisk(context: EngineContext, container: Container) {
  if (container.autoRemove) return undefined;
  try {
    const state = await withStoppedDisk(context, container, (link, mount) => link.call("diskState", { mount }));
    const checked = state ? decodeState(JSON.stringify(state)) : undefined;
    return checked && !container.isStale(checked.boot) ? checked : undefined;
  } catch (error) {
    context.log(
      `container ${container.name}: its last state cannot be read: ${error instanceof Error ? error.message : error}`,
    );
    return undefined;
  }
}

/** Directories of containers that were never made or are already destroyed. One with a VM's file in it is never touched. */
async function removeHalfMade(context: EngineContext): Promise<void> {
  const { files } = context.vsphere;
  const { containers } = context.paths;
  if (!(await files.exists(containers))) return;
  for (const entry of await files.list(containers)) {
    if (!entry.directory || context.table.byId(entry.name) || context.table.isTransient(entry.name)) continue;
    const content = await files.list(`${containers}/${entry.name}`);
    if (content.some((file) => file.name.endsWith(".vmx"))) continue;
    context.log(`removing what is left of container ${entry.name}`);
    await files.remove(`${containers}/${entry.name}`);
  }
}
