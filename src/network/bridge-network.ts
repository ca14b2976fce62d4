/** A bridge network of this machine: gateway, NAT, published ports and resolver. See contract.ts. */
import { type Family, formatNetwork, type IpNetwork, networkHas, parseIp } from "../format/ip-address.ts";
import { createAddressPool } from "./address-pool.ts";
import {
  type BridgeNetwork,
  type BridgeNetworkOptions,
  NetworkError,
  type PublishedPort,
  type PublishingEndpoint,
} from "./contract.ts";
import { openResolver } from "./dns/resolver.ts";
import type { HostPort } from "./host-ports.ts";
import { hostSubnet } from "./host-subnet.ts";
import {
  addGateway,
  checkInterface,
  enableIpv6,
  isForwarding,
  removeGateway,
  setForwarding,
  setLoopbackRouting,
  setNeighbours,
} from "./interface.ts";
import { applyRules, listTables, runCommand } from "./nft.ts";
import { destinationsOf, matchEarlier, randomChoices, take, type Wanted } from "./publishing.ts";
import {
  addBindings,
  addElements,
  deleteBindings,
  deleteElements,
  IPV6_FORWARDING_WAS_OFF,
  type PublishedRule,
  type RulesetOptions,
  readTable,
  renderTable,
  tableName,
  tablePrefix,
} from "./ruleset.ts";

/** A container's published ports and the sockets that hold them. */
interface Publication {
  rules: PublishedRule[];
  held: HostPort[];
}

export async function openBridgeNetwork(options: BridgeNetworkOptions): Promise<BridgeNetwork> {
  const { ipv6 } = options;
  const subnet = subnetWith(options.subnet, options.gateway, 4);
  const subnet6 = ipv6 && subnetWith(ipv6.subnet, ipv6.gateway, 6);
  const addresses = createAddressPool({
    subnet: options.subnet,
    leaseRange: options.leaseRange,
    reserved: [options.gateway, ...(options.reserved ?? [])],
    inUse: options.addressesInUse,
  });
  const addresses6 =
    ipv6 &&
    createAddressPool({
      subnet: ipv6.subnet,
      leaseRange: ipv6.leaseRange,
      reserved: [ipv6.gateway, ...(ipv6.reserved ?? [])],
      inUse: options.addressesInUse,
    });
  checkInterface(options.interfaceName, subnet6 ? [subnet, subnet6] : [subnet]);
  if (subnet6) enableIpv6(options.interfaceName);

  const table = tableName(options.owner, options.interfaceName);
  const earlier = await readTable(table);
  const wasForwarding = isForwarding(4);
  const ruleset: RulesetOptions = {
    owner: options.owner,
    interfaceName: options.interfaceName,
    subnet: formatNetwork(subnet),
    gateway: options.gateway,
    prefixLength: subnet.prefixLength,
    allowedPorts: options.allowedPorts,
    internal: options.internal === true,
    masquerade: options.masquerade !== false,
    checkSources: options.checkSources === true,
    forwardingWasOff: earlier?.forwardingWasOff === true || !wasForwarding,
    ...(ipv6 && subnet6
      ? {
          ipv6: {
            subnet: formatNetwork(subnet6),
            gateway: ipv6.gateway,
            prefixLength: subnet6.prefixLength,
            forwardingWasOff: !isForwarding(6) || (await ipv6ForwardingWasOff()),
          },
        }
      : {}),
  };
  const publications = new Map<string, Publication>();
  /** Rules of an earlier run, until reconcile() has said which of them still count. */
  let inherited = (earlier?.rules ?? []).filter(({ address }) => subnet6 !== undefined || !address.includes(":"));
  const allRules = (): PublishedRule[] => [...inherited, ...[...publications.values()].flatMap(({ rules }) => rules)];
  const belongs = (text: string): boolean => {
    const address = parseIp(text);
    return (
      address !== undefined && (networkHas(subnet, address) || (subnet6 !== undefined && networkHas(subnet6, address)))
    );
  };
  const bound = new Map(
    (earlier?.bindings ?? []).filter(({ address }) => belongs(address)).map((binding) => [binding.address, binding]),
  );
  /** Addresses bound by an earlier run, until reconcile() has said which of them still count. */
  const boundBefore = new Set(bound.keys());
  const rebuild = (): Promise<void> => applyRules(renderTable(table, ruleset, allRules(), [...bound.values()]));

  // The rules come first: nothing is forwarded before they say what may be.
  await rebuild();
  await addGateway(options.interfaceName, options.gateway, subnet.prefixLength);
  if (ipv6 && subnet6) await addGateway(options.interfaceName, ipv6.gateway, subnet6.prefixLength);
  setLoopbackRouting(options.interfaceName, true);
  for (const family of [4, 6] as const) {
    if ((family === 6 && !ipv6) || isForwarding(family)) continue;
    setForwarding(family, true);
    options.log(`turned on IPv${family} forwarding for the bridge network on ${options.interfaceName}`);
  }
  const resolver = await openResolver({
    address: options.gateway,
    names: options.names,
    // As in Docker: names of the world are not answered where the world cannot be reached.
    ...(ruleset.internal ? { upstreams: { list: () => [] } } : {}),
    log: options.log,
  });

  // Changes of the table happen one after the other.
  let queue: Promise<unknown> = Promise.resolve();
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = queue.then(work);
    queue = result.catch(() => undefined);
    return result;
  }

  /** Applies a small change; when the kernel's table is not what we think (someone flushed it), writes all of it again. */
  async function change(script: string): Promise<void> {
    if (script === "") return;
    try {
      await applyRules(script);
    } catch (error) {
      options.log(`${error instanceof Error ? error.message : String(error)}; writing the whole table ${table} again`);
      await rebuild();
    }
  }

  async function acquire(endpoint: PublishingEndpoint, ports: readonly Wanted[]): Promise<Publication> {
    const publication: Publication = { rules: [], held: [] };
    try {
      for (const { request, hostPort } of ports) {
        const destinations = destinationsOf(endpoint, request);
        for (const taken of await take(request, destinations, hostPort)) {
          publication.held.push(taken);
          publication.rules.push({
            containerId: endpoint.containerId,
            address: destinations.get(taken.hostAddress) ?? endpoint.address,
            containerPort: request.containerPort,
            protocol: request.protocol,
            hostAddress: taken.hostAddress,
            hostPort: taken.port,
          });
        }
      }
      return publication;
    } catch (error) {
      for (const port of publication.held) port.release();
      throw programmingError(endpoint, error);
    }
  }

  function checkEndpoint(endpoint: PublishingEndpoint): void {
    for (const address of [endpoint.address, ...(endpoint.address6 === undefined ? [] : [endpoint.address6])])
      if (!belongs(address))
        throw programmingError(endpoint, new NetworkError("invalid", `${address} is not on ${options.interfaceName}`));
    if (!/^[0-9a-zA-Z_.-]{1,100}$/.test(endpoint.containerId)) {
      throw new NetworkError("invalid", `invalid container id ${endpoint.containerId}`);
    }
    if (ruleset.internal && endpoint.ports.length > 0) {
      throw programmingError(endpoint, new NetworkError("unsupported", "an internal network publishes no ports"));
    }
  }

  async function drop(containerId: string): Promise<void> {
    const publication = publications.get(containerId);
    const gone = [...inherited.filter((rule) => rule.containerId === containerId), ...(publication?.rules ?? [])];
    publications.delete(containerId);
    inherited = inherited.filter((rule) => rule.containerId !== containerId);
    await change(deleteElements(table, gone));
    for (const port of publication?.held ?? []) port.release();
  }

  return {
    interfaceName: options.interfaceName,
    subnet: ruleset.subnet,
    gateway: options.gateway,
    addresses,
    addresses6,
    publish: (endpoint) =>
      inTurn(async () => {
        checkEndpoint(endpoint);
        await drop(endpoint.containerId);
        const publication = await acquire(
          endpoint,
          endpoint.ports.map((request) => ({ request })),
        );
        if (publication.rules.length === 0) return [];
        publications.set(endpoint.containerId, publication);
        try {
          await change(addElements(table, publication.rules));
        } catch (error) {
          publications.delete(endpoint.containerId);
          for (const port of publication.held) port.release();
          throw programmingError(endpoint, error);
        }
        return publication.rules.map(toPublishedPort);
      }),
    withdraw: (containerId) => inTurn(() => drop(containerId)),
    bind: (bindings) =>
      inTurn(async () => {
        const fresh = bindings.filter(({ address, macAddress }) => bound.get(address)?.macAddress !== macAddress);
        const replaced = fresh.flatMap(({ address }) => bound.get(address) ?? []);
        for (const { address } of bindings) boundBefore.delete(address);
        for (const binding of fresh) bound.set(binding.address, binding);
        await change(deleteBindings(table, replaced) + addBindings(table, fresh));
        await setNeighbours(options.interfaceName, fresh, []);
      }),
    unbind: (gone) =>
      inTurn(async () => {
        const known = gone.flatMap((address) => bound.get(address) ?? []);
        for (const { address } of known) bound.delete(address);
        await change(deleteBindings(table, known));
        await setNeighbours(options.interfaceName, [], known);
      }),
    published: (containerId) => (publications.get(containerId)?.rules ?? []).map(toPublishedPort),
    reconcile: (endpoints, bindings = []) =>
      inTurn(async () => {
        const published = new Map<string, PublishedPort[]>();
        const failures: { containerId: string; error: NetworkError }[] = [];
        const before = inherited;
        inherited = [];
        for (const { held } of publications.values()) for (const port of held) port.release();
        const earlierRules = [...before, ...[...publications.values()].flatMap(({ rules }) => rules)];
        publications.clear();
        const plans = endpoints.map((endpoint) => ({ endpoint, wanted: matchEarlier(endpoint, earlierRules) }));
        // Fixed and remembered ports first, so that no random choice takes one of them.
        plans.sort((a, b) => randomChoices(a.wanted) - randomChoices(b.wanted));
        for (const { endpoint, wanted } of plans) {
          try {
            checkEndpoint(endpoint);
            const publication = await acquire(endpoint, wanted);
            if (publication.rules.length > 0) publications.set(endpoint.containerId, publication);
            published.set(endpoint.containerId, publication.rules.map(toPublishedPort));
          } catch (error) {
            if (!(error instanceof NetworkError)) throw error;
            failures.push({ containerId: endpoint.containerId, error });
          }
        }
        const wanted = new Set(bindings.map(({ address }) => address));
        const gone = [...bound.values()].filter(({ address }) => boundBefore.has(address) && !wanted.has(address));
        for (const { address } of gone) bound.delete(address);
        boundBefore.clear();
        for (const binding of bindings) bound.set(binding.address, binding);
        await rebuild();
        await setNeighbours(options.interfaceName, bindings, gone);
        return { published, failures };
      }),
    close: ({ removeRules }) =>
      inTurn(async () => {
        await resolver.close();
        if (removeRules) await removeTable(table, options.interfaceName);
        for (const { held } of publications.values()) for (const port of held) port.release();
        publications.clear();
      }),
  };
}

/** Removes what a VCH's bridge network (or all of them) left on this machine. Finding nothing is no error. */
export async function removeBridgeNetwork(options: { owner: string; interfaceName?: string }): Promise<void> {
  const prefix = tablePrefix(options.owner);
  for (const table of await listTables(prefix)) {
    const interfaceName = table.slice(prefix.length);
    if (options.interfaceName === undefined || options.interfaceName === interfaceName) {
      await removeTable(table, interfaceName);
    }
  }
}

async function removeTable(table: string, interfaceName: string): Promise<void> {
  const left = await readTable(table);
  if (left === undefined) return;
  setLoopbackRouting(interfaceName, false);
  for (const gateway of [left.gateway, left.gateway6])
    if (gateway !== undefined) await removeGateway(interfaceName, gateway);
  await applyRules(`table inet ${table}\ndelete table inet ${table}\n`);
  if (!(left.forwardingWasOff || left.forwarding6WasOff) || (await othersForward())) return;
  if (left.forwardingWasOff) setForwarding(4, false);
  if (left.forwarding6WasOff) setForwarding(6, false);
}

/** True when any other rules of this machine care about forwarded packets: then forwarding is not ours to turn off. */
async function othersForward(): Promise<boolean> {
  const result = await runCommand(["nft", "list", "ruleset"]);
  return result.exitCode !== 0 || /hook (forward|postrouting)/.test(result.stdout);
}

/** Networks come and go in any order: forwarding goes off with the last one when it was off before the first. */
async function ipv6ForwardingWasOff(): Promise<boolean> {
  return IPV6_FORWARDING_WAS_OFF.test((await runCommand(["nft", "-t", "list", "ruleset"])).stdout);
}

function subnetWith(text: string, gatewayText: string, family: Family): IpNetwork {
  const subnet = hostSubnet(text);
  const gateway = parseIp(gatewayText);
  if (subnet.family !== family || gateway === undefined || !networkHas(subnet, gateway)) {
    throw new NetworkError("invalid", `gateway ${gatewayText} is not inside the subnet ${text}`);
  }
  return subnet;
}

function programmingError(endpoint: PublishingEndpoint, cause: unknown): NetworkError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = cause instanceof NetworkError ? cause.code : "system";
  return new NetworkError(
    code,
    `driver failed programming external connectivity on endpoint ${endpoint.containerName} (${endpoint.containerId}): ${reason}`,
    { cause },
  );
}

const toPublishedPort = ({ containerPort, protocol, hostAddress, hostPort }: PublishedRule): PublishedPort => ({
  containerPort,
  protocol,
  hostAddress,
  hostPort,
});
