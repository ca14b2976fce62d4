/**
 * `docker update`: the document in vSphere changes first, so that the next start holds to it, then the running guest.
 * A VM grows only while it is off: for a running container, limits may move within the size that its VM was started with.
 */
import { LinkError } from "../../link/link-error.ts";
import type { EngineContext } from "../context.ts";
import type { ContainerUpdateBody, HostConfig } from "../contract.ts";
import { conflict, EngineError, invalid } from "../errors.ts";
import { networkSurroundings } from "../networks/surroundings.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";
import { documentChunks, encodeDocument } from "./document.ts";
import { checkUpdateFields, isDefault } from "./fields.ts";
import { guestConfiguration } from "./guest-document.ts";
import { checkHostConfig, type MachineSize, machineSize } from "./host-config.ts";
import { writeEntries } from "./stored-entries.ts";

const CPU_FIELDS = ["CpuPeriod", "CpuQuota"] as const;

export async function updateContainer(
  context: EngineContext,
  container: Container,
  body: ContainerUpdateBody,
): Promise<{ Warnings: string[] }> {
  checkUpdateFields(body);
  await container.queue.run(async () => {
    await container.finishing;
    if (container.status === "removing" || container.status === "dead")
      throw conflict(`Cannot update container ${container.id}: it is marked for removal and cannot be "update"`);
    const hostConfig = merged(container.document.hostConfig, body);
    checkHostConfig(hostConfig);
    const size = machineSize(hostConfig, context.defaults, context.capacity);
    if (container.isRunning) refuseGrowth(context, container, size);
    const document = { ...container.document, hostConfig, resized: true };
    const { cpuLimitMhz = -1, cpuShares, memoryReservationMB = 0 } = size;
    await writeEntries(context, container, encodeDocument(document, documentChunks(container.stored)), {
      allocation: { cpuLimitMhz, ...(cpuShares === undefined ? {} : { cpuShares }), memoryReservationMB },
    });
    container.document = document;
    if (container.isRunning) await updateGuest(context, container);
    publishContainer(context.events, container, "update");
  });
  return { Warnings: [] };
}

/** Only what the client gives changes; one way to limit the CPU replaces the other. */
function merged(
  before: Partial<HostConfig>,
  { RestartPolicy, ...resources }: ContainerUpdateBody,
): Partial<HostConfig> {
  const given = Object.fromEntries(Object.entries(resources).filter(([, value]) => !isDefault(value)));
  const result: Partial<HostConfig> = { ...before, ...given };
  if (given.NanoCpus) for (const field of CPU_FIELDS) delete result[field];
  else if (CPU_FIELDS.some((field) => field in given)) delete result.NanoCpus;
  if (given.PidsLimit === -1) delete result.PidsLimit;
  // The swap limit of a VM without swap is its memory limit, whatever that is.
  if (result.Memory && result.MemorySwap) result.MemorySwap = result.Memory;
  if (RestartPolicy?.Name) {
    if (before.AutoRemove && RestartPolicy.Name !== "no")
      throw invalid("Restart policy cannot be updated because AutoRemove is enabled for the container");
    result.RestartPolicy = { Name: RestartPolicy.Name, MaximumRetryCount: RestartPolicy.MaximumRetryCount ?? 0 };
  }
  return result;
}

function refuseGrowth(context: EngineContext, container: Container, size: MachineSize): void {
  const record = context.view.get(container.virtualMachine);
  if (!record) return;
  if (size.memoryMB > record.memoryMB)
    throw conflict(
      `Cannot update container ${container.id}: its VM was started with ${record.memoryMB} MB and cannot grow to ${size.memoryMB} MB while it runs. Stop the container, update it, and start it again`,
    );
  if (size.cpus > record.cpus)
    throw conflict(
      `Cannot update container ${container.id}: its VM was started with ${record.cpus} CPUs and cannot get ${size.cpus} while it runs. Stop the container, update it, and start it again`,
    );
}

async function updateGuest(context: EngineContext, container: Container): Promise<void> {
  const { links } = context;
  const { limits = {}, restart } = guestConfiguration(container.document, {
    link: links.configuration,
    awaitAttach: false,
    vch: context.name,
    networks: networkSurroundings(context, container.document),
  });
  const link = await container.link();
  try {
    await link.call("update", { limits, restart });
  } catch (error) {
    if (!(error instanceof LinkError) || !container.isRunning) throw error;
    throw new EngineError("internal", `Cannot update container ${container.id}: ${error.message}`, { cause: error });
  }
}
