import { type Command, Option } from "commander";
import { type ContainerNetwork, parseContainerNetworks } from "../machine/container-networks.ts";
import { CommandError } from "./command.ts";

export interface ContainerNetworkOptionValues {
  /** False for --no-container-network. */
  containerNetwork?: string[] | false;
  containerNetworkGateway?: string[];
  containerNetworkIpRange?: string[];
  containerNetworkDns?: string[];
  containerNetworkFirewall?: string[];
}

const OPTIONS: [flags: string, description: string][] = [
  [
    "--container-network <portgroup[:name]>",
    "port group that containers may be put on with addresses of their own, and its name in docker; repeatable, as all of these",
  ],
  ["--container-network-gateway <portgroup:address/prefix>", "gateway and subnet of addresses that are given out here"],
  [
    "--container-network-ip-range <portgroup:first-last>",
    "addresses that are given out (or a CIDR); without gateway and range containers ask by DHCP",
  ],
  ["--container-network-dns <portgroup:address>", "name server (default: those that the DHCP server tells)"],
  [
    "--container-network-firewall <portgroup:level>",
    "who may reach a container: closed, outbound, peers, published (the default: ports of -p and ping) or open",
  ],
];

const collect = (value: string, all: string[] | undefined): string[] => [...(all ?? []), value];

export function addContainerNetworkOptions(command: Command, options: { removable: boolean }): Command {
  for (const [flags, description] of OPTIONS)
    command.addOption(new Option(flags, description).argParser(collect).helpGroup("Container networks:"));
  if (options.removable)
    command.addOption(
      new Option("--no-container-network", "there are no container networks any more").helpGroup("Container networks:"),
    );
  return command;
}

/** The networks that are named, or undefined when nothing is said of them. */
export function containerNetworks(values: ContainerNetworkOptionValues): ContainerNetwork[] | undefined {
  const { containerNetwork: networks, containerNetworkGateway: gateways, containerNetworkIpRange: ranges } = values;
  const { containerNetworkDns: nameServers, containerNetworkFirewall: firewalls } = values;
  const details = {
    gateways: gateways ?? [],
    ranges: ranges ?? [],
    nameServers: nameServers ?? [],
    firewalls: firewalls ?? [],
  };
  const hasDetails = Object.values(details).some((list) => list.length > 0);
  if (!Array.isArray(networks)) {
    if (hasDetails)
      throw new CommandError("These options describe container networks: name each with --container-network.", 2);
    return networks === false ? [] : undefined;
  }
  try {
    return parseContainerNetworks({ networks, ...details });
  } catch (error) {
    throw new CommandError(error instanceof Error ? error.message : String(error), 2);
  }
}
