/** The rules that the tether gives the kernel, as nft reads them back, in a network namespace of their own. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { FirewallConfiguration, InterfaceConfiguration } from "../../src/link/guest-configuration.ts";
import { run } from "./namespaces.ts";

const guarded = (name: string, firewall: FirewallConfiguration): InterfaceConfiguration => ({
  mac: "",
  name,
  addresses: [],
  firewall,
});

/** Applies one state after the other, and lists what is there then. */
async function rulesAfter(...states: InterfaceConfiguration[][]): Promise<string[]> {
  const program = join(import.meta.dir, "firewall-rules.ts");
  const script = `"$@" >&2 && nft list ruleset`;
  const texts = states.map((state) => JSON.stringify(state));
  const { exitCode, output } = await run(
    "unshare",
    "--net",
    "sh",
    "-c",
    script,
    "sh",
    process.execPath,
    program,
    ...texts,
  );
  expect({ exitCode, output }).toMatchObject({ exitCode: 0 });
  return output
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => !["", "}"].includes(line));
}

const PORTS = [
  { protocol: "tcp" as const, port: 80, target: 80 },
  { protocol: "tcp" as const, port: 81, target: 81 },
  { protocol: "udp" as const, port: 8053, target: 53 },
];

test("published ports, a port that leads elsewhere, and ping", async () => {
  const rules = await rulesAfter([guarded("eth0", { trust: "published", ports: PORTS, peers: [] })]);
  const input = rules.slice(rules.indexOf("chain input {"), rules.indexOf("chain output {"));
  expect(input.slice(2)).toEqual([
    'iifname "eth0" ct state established,related accept',
    'iifname "eth0" icmpv6 type 133-137 accept',
    'iifname "eth0" icmp type echo-request accept',
    'iifname "eth0" icmpv6 type echo-request accept',
    'iifname "eth0" tcp dport 80-81 accept',
    'iifname "eth0" ct status dnat accept',
    'iifname "eth0" drop',
  ]);
  expect(rules).toContain('iifname "eth0" udp dport 8053 redirect to :53');
  expect(rules).toContain("type nat hook prerouting priority dstnat; policy accept;");
});

test("peers, closed, outbound and the control link's adapter", async () => {
  const rules = await rulesAfter([
    guarded("eth0", { trust: "peers", ports: [], peers: [{ first: "10.0.0.2", last: "10.0.0.9" }] }),
    guarded("eth1", { trust: "closed", ports: [], peers: [] }),
    guarded("eth2", { trust: "outbound", ports: [], peers: [] }),
    guarded("vch0", { trust: "control", endpoint: { address: "172.30.0.1", port: 2377 } }),
  ]);
  for (const rule of [
    'iifname "eth0" ip saddr 10.0.0.2-10.0.0.9 accept',
    'iifname "eth0" drop',
    'iifname "eth1" drop',
    'oifname "eth1" drop',
    'iifname "eth2" ct state established,related accept',
    'iifname "eth2" drop',
    'oifname "vch0" ip daddr 172.30.0.1 tcp dport 2377 accept',
    'oifname "vch0" drop',
  ])
    expect(rules).toContain(rule);
  expect(rules.filter((rule) => rule.includes('"eth1"') && rule.includes("accept"))).toEqual([]);
  expect(rules.filter((rule) => rule.startsWith('oifname "eth2"'))).toEqual([]);
});

test("rules are replaced as a whole, and go when nothing needs them", async () => {
  const closed = [guarded("eth0", { trust: "closed", ports: [], peers: [] })];
  const outbound = [guarded("eth0", { trust: "outbound", ports: [], peers: [] })];
  const rules = await rulesAfter(closed, outbound);
  expect(rules.filter((rule) => rule.startsWith("table"))).toEqual(["table inet vch {"]);
  expect(rules.filter((rule) => rule.startsWith('oifname "eth0"'))).toEqual([]);
  expect(await rulesAfter(closed, [guarded("eth0", { trust: "open", ports: [], peers: [] })])).toEqual([]);
  expect(await rulesAfter([guarded("eth0", { trust: "open", ports: [], peers: [] })])).toEqual([]);
});
