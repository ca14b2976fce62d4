/** A small network out of Linux network namespaces: guests on a bridge, and one machine outside. Needs root. */
import { rmSync } from "node:fs";

export const BRIDGE = "vchtest0";
export const SUBNET = "172.31.250.0/24";
export const GATEWAY = "172.31.250.1";
export const OUTSIDE_ADDRESS = "172.31.251.2";
export const HOST_ADDRESS = "172.31.251.1";

const NAMESPACES = ["vchtest-a", "vchtest-b", "vchtest-out"] as const;
export type Namespace = (typeof NAMESPACES)[number];
export const SUBNET6 = "fd00:fa::/64";
export const GATEWAY6 = "fd00:fa::1";
export const OUTSIDE_ADDRESS6 = "fd00:fb::2";
export const HOST_ADDRESS6 = "fd00:fb::1";
export const GUEST_ADDRESSES6 = { "vchtest-a": "fd00:fa::2", "vchtest-b": "fd00:fa::3" } as const;
export const GUEST_ADDRESSES = { "vchtest-a": "172.31.250.2", "vchtest-b": "172.31.250.3" } as const;

export async function run(...command: string[]): Promise<{ exitCode: number; output: string }> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", timeout: 15_000 });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, output: stdout + stderr };
}

async function must(...command: string[]): Promise<void> {
  const { exitCode, output } = await run(...command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${output}`);
}

export const inside = (namespace: Namespace, ...command: string[]): Promise<{ exitCode: number; output: string }> =>
  run("ip", "netns", "exec", namespace, ...command);

/** Starts a program in a namespace; the caller kills it. */
export const startInside = (namespace: Namespace, ...command: string[]): Bun.Subprocess<"ignore", "pipe", "inherit"> =>
  Bun.spawn(["ip", "netns", "exec", namespace, ...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });

export async function makeNetworks(): Promise<void> {
  await removeNetworks();
  await must("ip", "link", "add", BRIDGE, "type", "bridge");
  for (const namespace of NAMESPACES) {
    await must("ip", "netns", "add", namespace);
    await must("ip", "-n", namespace, "link", "set", "lo", "up");
  }
  for (const namespace of ["vchtest-a", "vchtest-b"] as const) {
    const cable = `vt${namespace.at(-1)}`;
    await must("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace);
    await must("ip", "link", "set", cable, "master", BRIDGE, "up");
    // As the lab's ports are: with br_netfilter a guest that calls itself is answered inside of the bridge.
    await must("bridge", "link", "set", "dev", cable, "hairpin", "on");
    await must("ip", "-n", namespace, "addr", "add", `${GUEST_ADDRESSES[namespace]}/24`, "dev", "eth0");
    await must("ip", "-n", namespace, "link", "set", "eth0", "up");
    await must("ip", "-n", namespace, "route", "add", "default", "via", GATEWAY);
    await must("ip", "-n", namespace, "addr", "add", `${GUEST_ADDRESSES6[namespace]}/64`, "dev", "eth0", "nodad");
    await must("ip", "-n", namespace, "route", "add", "default", "via", GATEWAY6);
  }
  await must("ip", "link", "add", "vtout", "type", "veth", "peer", "name", "eth0", "netns", "vchtest-out");
  await must("ip", "addr", "add", `${HOST_ADDRESS}/24`, "dev", "vtout");
  await must("ip", "link", "set", "vtout", "up");
  await must("ip", "-n", "vchtest-out", "addr", "add", `${OUTSIDE_ADDRESS}/24`, "dev", "eth0");
  await must("ip", "-n", "vchtest-out", "link", "set", "eth0", "up");
  await must("ip", "addr", "add", `${HOST_ADDRESS6}/64`, "dev", "vtout", "nodad");
  await must("ip", "-n", "vchtest-out", "addr", "add", `${OUTSIDE_ADDRESS6}/64`, "dev", "eth0", "nodad");
  // The outside machine may try to reach guests directly: only the rules keep it out.
  await must("ip", "-n", "vchtest-out", "route", "add", SUBNET, "via", HOST_ADDRESS);
  await must("ip", "-n", "vchtest-out", "route", "add", SUBNET6, "via", HOST_ADDRESS6);
}

export async function removeNetworks(): Promise<void> {
  for (const namespace of NAMESPACES) await run("ip", "netns", "del", namespace);
  for (const name of [BRIDGE, "vta", "vtb", "vtout"]) await run("ip", "link", "del", name);
  for (const namespace of NAMESPACES) rmSync(`/etc/netns/${namespace}`, { recursive: true, force: true });
}
