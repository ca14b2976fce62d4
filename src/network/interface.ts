/** The machine's side of a bridge network: the gateway address on the interface, and the kernel switches. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import {
  ADDRESS_BITS,
  type Family,
  formatNetwork,
  type IpNetwork,
  networksOverlap,
  parseNetwork,
} from "../format/ip-address.ts";
import { type AddressBinding, NetworkError } from "./contract.ts";
import { runCommand } from "./nft.ts";

const IPV6_INTERFACES = "/proc/sys/net/ipv6/conf";
const FORWARDING: Record<Family, string> = {
  4: "/proc/sys/net/ipv4/ip_forward",
  6: `${IPV6_INTERFACES}/all/forwarding`,
};
const interfaceSwitch = (interfaceName: string, name: string): string =>
  `/proc/sys/net/ipv4/conf/${interfaceName}/${name}`;

/** Throws NetworkError `invalid` when there is no such interface or another one already has addresses of a subnet. */
export function checkInterface(interfaceName: string, subnets: readonly IpNetwork[]): void {
  // Not /sys/class/net, which may show another network namespace than ours.
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(interfaceName) || !existsSync(interfaceSwitch(interfaceName, "forwarding"))) {
    throw new NetworkError("invalid", `no network interface ${interfaceName} for the bridge network: create it first`);
  }
  for (const [name, addresses] of Object.entries(os.networkInterfaces())) {
    if (name === interfaceName) continue;
    for (const { cidr } of addresses ?? []) {
      const present = parseNetwork(cidr ?? "");
      // A single address says nothing of a subnet; a link-local one is not ours to take.
      if (present === undefined || present.prefixLength === 0) continue;
      if (present.prefixLength >= ADDRESS_BITS[present.family] - 1) continue;
      for (const subnet of subnets)
        if (networksOverlap(present, subnet))
          throw new NetworkError(
            "invalid",
            `the bridge network ${formatNetwork(subnet)} overlaps with ${cidr} on ${name}: choose another subnet`,
          );
    }
  }
}

async function ip(...parameters: string[]): Promise<string> {
  const result = await runCommand(["ip", ...parameters]);
  return result.exitCode === 0 ? "" : result.stderr.trim() || `exit ${result.exitCode}`;
}

/** Adapters of addresses, for good: what guests say by ARP or neighbour discovery changes nothing. An interface that is gone is no error. */
export async function setNeighbours(
  interfaceName: string,
  bound: readonly AddressBinding[],
  gone: readonly AddressBinding[],
): Promise<void> {
  const lines = [
    ...gone.map(({ address }) => `neigh del ${address} dev ${interfaceName}`),
    ...bound.map(
      ({ address, macAddress }) => `neigh replace ${address} lladdr ${macAddress} dev ${interfaceName} nud permanent`,
    ),
  ];
  if (lines.length === 0 || !existsSync(`/sys/class/net/${interfaceName}`)) return;
  // An entry that is to be deleted may have gone by itself: the rest is done all the same.
  const result = await runCommand(["ip", "-force", "-batch", "-"], `${lines.join("\n")}\n`);
  const failures = result.stderr
    .split("\n")
    .filter((line) => line !== "" && !/No such file|^Command failed/.test(line));
  if (failures.length > 0)
    throw new NetworkError("system", `cannot set neighbours of ${interfaceName}: ${failures[0]}`);
}

/** Puts the gateway's address on the interface, unless it is there. */
export async function addGateway(interfaceName: string, gateway: string, prefixLength: number): Promise<void> {
  // Nobody else may have the gateway's address, so IPv6 need not ask for it and wait.
  const flags = gateway.includes(":") ? ["nodad"] : [];
  const failure = await ip("addr", "add", `${gateway}/${prefixLength}`, "dev", interfaceName, ...flags);
  // iproute2 says "File exists" (newer: "Address already assigned") for an address that an earlier run has put there.
  if (failure !== "" && !/exists|already assigned/i.test(failure)) {
    throw new NetworkError("system", `cannot put ${gateway}/${prefixLength} on ${interfaceName}: ${failure}`);
  }
  const up = await ip("link", "set", "dev", interfaceName, "up");
  if (up !== "") throw new NetworkError("system", `cannot bring ${interfaceName} up: ${up}`);
}

/** The interface or the address may be gone already. */
export async function removeGateway(interfaceName: string, gatewayWithLength: string): Promise<void> {
  if (existsSync(`/sys/class/net/${interfaceName}`)) await ip("addr", "del", gatewayWithLength, "dev", interfaceName);
}

export function isForwarding(family: Family): boolean {
  return existsSync(FORWARDING[family]) && readFileSync(FORWARDING[family], "utf8").trim() === "1";
}

/**
 * Of the whole machine. One that forwards IPv6 stops listening to routers on interfaces where it is a mere host, so these
 * are told to go on (`accept_ra` 2 means: also when forwarding).
 */
export function setForwarding(family: Family, on: boolean): void {
  if (family === 6 && on)
    for (const name of readdirSync(IPV6_INTERFACES)) {
      const path = `${IPV6_INTERFACES}/${name}/accept_ra`;
      if (existsSync(path) && readFileSync(path, "utf8").trim() === "1") writeSwitch(path, "2");
    }
  writeSwitch(FORWARDING[family], on ? "1" : "0");
}

/** The interface speaks IPv6 and takes no routers or addresses from guests. Throws NetworkError when the machine has no IPv6. */
export function enableIpv6(interfaceName: string): void {
  const directory = `${IPV6_INTERFACES}/${interfaceName}`;
  if (!existsSync(directory))
    throw new NetworkError(
      "unsupported",
      "this machine has no IPv6: turn it on (it is off with ipv6.disable=1 on the kernel's command line), or create the network without --ipv6",
    );
  writeSwitch(`${directory}/disable_ipv6`, "0");
  writeSwitch(`${directory}/accept_ra`, "0");
}

/** Lets packets for 127.0.0.1:published go out to the guests; the guard chain keeps guests from using it the other way. */
export function setLoopbackRouting(interfaceName: string, on: boolean): void {
  const path = interfaceSwitch(interfaceName, "route_localnet");
  if (existsSync(path)) writeSwitch(path, on ? "1" : "0");
}

function writeSwitch(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch (cause) {
    throw new NetworkError("system", `cannot set ${path}: run the endpoint as root (CAP_NET_ADMIN)`, { cause });
  }
}
