/** The machine's side of a bridge network: the gateway address on the interface, and the kernel switches. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import { type AddressBinding, NetworkError } from "./contract.ts";
import { runCommand } from "./nft.ts";
import { formatSubnet, overlaps, parseSubnet, type Subnet } from "./subnet.ts";

const FORWARDING = "/proc/sys/net/ipv4/ip_forward";
const interfaceSwitch = (interfaceName: string, name: string): string =>
  `/proc/sys/net/ipv4/conf/${interfaceName}/${name}`;

/** Throws NetworkError `invalid` when there is no such interface or another one already has addresses of the subnet. */
export function checkInterface(interfaceName: string, subnet: Subnet): void {
  // Not /sys/class/net, which may show another network namespace than ours.
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(interfaceName) || !existsSync(interfaceSwitch(interfaceName, "forwarding"))) {
    throw new NetworkError("invalid", `no network interface ${interfaceName} for the bridge network: create it first`);
  }
  for (const [name, addresses] of Object.entries(os.networkInterfaces())) {
    if (name === interfaceName) continue;
    for (const { family, cidr } of addresses ?? []) {
      if (family !== "IPv4" || cidr === null || cidr.endsWith("/31") || cidr.endsWith("/32") || cidr.endsWith("/0"))
        continue;
      if (overlaps(parseSubnet(cidr), subnet)) {
        throw new NetworkError(
          "invalid",
          `the bridge network ${formatSubnet(subnet)} overlaps with ${cidr} on ${name}: choose another subnet`,
        );
      }
    }
  }
}

async function ip(...parameters: string[]): Promise<string> {
  const result = await runCommand(["ip", ...parameters]);
  return result.exitCode === 0 ? "" : result.stderr.trim() || `exit ${result.exitCode}`;
}

/** Adapters of addresses, for good: what guests say by ARP changes nothing. An interface that is gone is no error. */
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
  const failure = await ip("addr", "add", `${gateway}/${prefixLength}`, "dev", interfaceName);
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

export function isForwarding(): boolean {
  return readFileSync(FORWARDING, "utf8").trim() === "1";
}

export function setForwarding(on: boolean): void {
  writeSwitch(FORWARDING, on);
}

/** Lets packets for 127.0.0.1:published go out to the guests; the guard chain keeps guests from using it the other way. */
export function setLoopbackRouting(interfaceName: string, on: boolean): void {
  const path = interfaceSwitch(interfaceName, "route_localnet");
  if (existsSync(path)) writeSwitch(path, on);
}

function writeSwitch(path: string, on: boolean): void {
  try {
    writeFileSync(path, on ? "1" : "0");
  } catch (cause) {
    throw new NetworkError("system", `cannot set ${path}: run the endpoint as root (CAP_NET_ADMIN)`, { cause });
  }
}
