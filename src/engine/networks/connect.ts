/**
 * `docker network connect` and `disconnect`: a vNIC and the container's document change in one reconfigure. A running guest
 * is told over its control link, after a vNIC came and before one goes.
 */
import type { AddressLease } from "../../network/contract.ts";
import type { Container } from "../containers/container.ts";
import { type ContainerDocument, documentChunks, type EndpointRecord, encodeDocument } from "../containers/document.ts";
import { guestChunks, guestEntries, publishingEndpoint } from "../containers/start.ts";
import { changedEntries, writeEntries } from "../containers/stored-entries.ts";
import type { EngineContext } from "../context.ts";
import { conflict, EngineError, invalid } from "../errors.ts";
import { ADAPTER_LIMIT, CONTROL_MOVE_TIMEOUT } from "../limits.ts";
import type { EndpointSettings } from "./endpoint-fields.ts";
import {
  adapterOf,
  bindingsOf,
  controlOf,
  hiddenAdapter,
  hiddenControl,
  makeEndpoint,
  renumbered,
} from "./endpoints.ts";
import { publishingPlace } from "./gateway-endpoint.ts";
import type { NetworkRecord } from "./network-record.ts";
import { asEngineError } from "./network-table.ts";
import { checkOpenPorts } from "./open-ports.ts";
import { liveNetwork } from "./surroundings.ts";

export async function connectNetwork(
  context: EngineContext,
  reference: string,
  containerReference: string,
  given: EndpointSettings,
): Promise<void> {
  const network = context.networks.find(reference);
  const container = context.table.get(containerReference);
  await container.queue.run(async () => {
    await refuseUnfit(container);
    refuseSpecial(network, container);
    const { endpoints } = container.document;
    if (endpoints[network.name])
      throw new EngineError(
        "forbidden",
        `endpoint with name ${container.name} already exists in network ${network.name}`,
      );
    if (Object.keys(endpoints).length >= ADAPTER_LIMIT - 1)
      throw invalid(`container ${container.name} is on ${ADAPTER_LIMIT - 1} networks: a VM has no room for more vNICs`);
    const leases: AddressLease[] = [];
    try {
      const endpoint = makeEndpoint(context, network, given, Object.values(endpoints), leases);
      checkOpenPorts(context, { ...container.document, endpoints: { ...endpoints, [network.name]: endpoint } });
      await addEndpoint(context, container, network, endpoint);
    } finally {
      for (const lease of leases) lease.release();
    }
    publish(context, container, network.id, network.name, "connect");
  });
}

async function addEndpoint(
  context: EngineContext,
  container: Container,
  network: NetworkRecord,
  endpoint: EndpointRecord,
): Promise<void> {
  const before = container.document;
  const all = { ...before.endpoints, [network.name]: endpoint };
  const endpoints = container.isRunning ? all : renumbered(context, all);
  const hidden = hiddenAdapter(before);
  // A running guest keeps its hidden vNIC: the control link is on it.
  const control = hidden && !container.isRunning ? (controlOf(endpoints) ?? before.control) : before.control;
  const document: ContainerDocument = { ...before, endpoints, control };
  await context.networks.bind(bindingsOf(context, document));
  await change(context, container, document, {
    addNetworkAdapters: [adapterOf(context, network.id, endpoint.macAddress)],
    ...(hidden && control !== hidden ? { removeNetworkAdapters: [{ macAddress: hidden.macAddress }] } : {}),
  });
  if (!container.isRunning) return;
  try {
    await tellGuest(context, container);
    await movePorts(context, container, before);
  } catch (error) {
    await change(context, container, before, { removeNetworkAdapters: [{ macAddress: endpoint.macAddress }] });
    throw asEngineError(error);
  }
}

export async function disconnectNetwork(
  context: EngineContext,
  reference: string,
  containerReference: string,
  force: boolean,
): Promise<void> {
  const container = context.table.get(containerReference);
  const [name, networkId] = placeOf(context, container, reference);
  await container.queue.run(async () => {
    await refuseUnfit(container);
    const endpoint = container.document.endpoints[name];
    if (!endpoint) throw new EngineError("forbidden", `container ${container.id} is not connected to network ${name}`);
    const before = bindingsOf(context, container.document);
    await removeEndpoint(context, container, name, endpoint, force);
    const kept = new Set(bindingsOf(context, container.document).map(({ macAddress }) => macAddress));
    await context.networks.unbind(before.filter(({ macAddress }) => !kept.has(macAddress)));
    publish(context, container, networkId, name, "disconnect");
  });
}

/** The network's name in the container's document, also when the network itself is gone. */
function placeOf(context: EngineContext, container: Container, reference: string): [name: string, id: string] {
  const lost = Object.entries(container.document.endpoints).find(
    ([name, { networkId }]) => context.networks.byId(networkId) === undefined && [name, networkId].includes(reference),
  );
  if (lost) return [lost[0], lost[1].networkId];
  const network = context.networks.find(reference);
  return [network.name, network.id];
}

async function removeEndpoint(
  context: EngineContext,
  container: Container,
  name: string,
  endpoint: EndpointRecord,
  force: boolean,
): Promise<void> {
  const before = container.document;
  const { [name]: _gone, ...others } = before.endpoints;
  const endpoints = container.isRunning ? others : renumbered(context, others);
  const carriesControl = before.control?.macAddress === endpoint.macAddress;
  const leases: AddressLease[] = [];
  try {
    const control = carriesControl ? (controlOf(endpoints) ?? hiddenControl(context, leases)) : before.control;
    const document: ContainerDocument = { ...before, endpoints, control };
    const needed = control === before.control ? undefined : hiddenAdapter(document);
    const hidden = needed
      ? [adapterOf(context, needed.networkId ?? context.networks.bridge.id, needed.macAddress)]
      : [];
    const adapters = context.view.get(container.virtualMachine)?.networkAdapters ?? [];
    const gone = adapters.some(({ macAddress }) => macAddress === endpoint.macAddress)
      ? [{ macAddress: endpoint.macAddress }]
      : [];
    if (!container.isRunning) {
      await context.networks.bind(bindingsOf(context, document));
      await change(context, container, document, { addNetworkAdapters: hidden, removeNetworkAdapters: gone });
      return;
    }
    // The way for the control link comes first; should we be cut off here, the next start takes the vNIC away.
    if (hidden.length > 0) {
      await context.networks.bind(bindingsOf(context, document));
      await context.vsphere.reconfigureVm(container.virtualMachine, { addNetworkAdapters: hidden });
    }
    container.document = document;
    try {
      await tellGuest(context, container, carriesControl);
      await movePorts(context, container, before);
    } catch (error) {
      if (!force) {
        container.document = before;
        throw asEngineError(error);
      }
      context.log(`container ${container.name}: ${error instanceof Error ? error.message : error}`);
    }
    await change(context, container, document, { removeNetworkAdapters: gone });
  } finally {
    for (const lease of leases) lease.release();
  }
}

type AdapterChanges = Parameters<typeof writeEntries>[3];

/** One reconfigure for vNICs, document and the guest's configuration; the container has the document afterwards. */
async function change(
  context: EngineContext,
  container: Container,
  document: ContainerDocument,
  adapters: NonNullable<AdapterChanges>,
): Promise<void> {
  const { stored } = container;
  const wanted = {
    ...guestEntries(context, document, false, guestChunks(stored)),
    ...encodeDocument(document, documentChunks(stored)),
  };
  await context.changes.run(() => writeEntries(context, container, changedEntries(stored, wanted), adapters));
  container.document = document;
}

/** `moves`: the control link has to find another way, and the guest counts as told when it has called on that. */
async function tellGuest(context: EngineContext, container: Container, moves = false): Promise<void> {
  const session = await container.link();
  await session.call("configureNetwork", liveNetwork(context, container));
  // The answer to a session that can be resumed came over the new way, or the old way is given up already.
  if (!moves || session.id !== undefined) return;
  const over = await Promise.race([session.closed.then(() => true), Bun.sleep(CONTROL_MOVE_TIMEOUT).then(() => false)]);
  if (!over) session.close("the network of the control link is disconnected");
  await container.link();
}

/** Published ports follow the endpoint with the default route. */
async function movePorts(context: EngineContext, container: Container, before: ContainerDocument): Promise<void> {
  const old = publishingPlace(context, before);
  const now = publishingPlace(context, container.document);
  if (old?.endpointId === now?.endpointId || container.document.ports.length === 0) return;
  await context.networks.withdraw(container.id);
  container.published = now ? await context.networks.publish(now.networkId, publishingEndpoint(container, now)) : [];
}

async function refuseUnfit(container: Container): Promise<void> {
  await container.finishing;
  if (container.status === "removing" || container.status === "dead")
    throw conflict(
      `container ${container.id} is marked for removal and cannot be connected or disconnected to the network`,
    );
  if (container.status === "paused")
    throw conflict(`container ${container.name} is paused: its VM cannot take a vNIC. Unpause it first`);
}

function refuseSpecial(network: NetworkRecord, container: Container): void {
  if (network.driver === "host")
    throw new EngineError(
      "forbidden",
      "container cannot be disconnected from host network or connected to host network",
    );
  const isNone = container.document.hostConfig.NetworkMode === "none" || container.document.config.NetworkDisabled;
  if (network.driver === "null" || isNone)
    throw new EngineError(
      "forbidden",
      "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    );
}

function publish(
  context: EngineContext,
  container: Container,
  id: string,
  name: string,
  action: "connect" | "disconnect",
): void {
  context.events.publish("network", action, id, {
    container: container.id,
    name,
    type: context.networks.byId(id)?.driver ?? "bridge",
  });
}
