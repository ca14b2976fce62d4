/** The nftables table of one bridge network: its text, and reading the published ports back from the kernel. */
import type { AddressBinding, PublishedPort, TransportProtocol } from "./contract.ts";
import { runCommand } from "./nft.ts";

export interface RulesetOptions {
  owner: string;
  interfaceName: string;
  /** `172.18.0.0/16` */
  subnet: string;
  gateway: string;
  prefixLength: number;
  allowedPorts: readonly number[];
  internal: boolean;
  masquerade: boolean;
  checkSources: boolean;
  /** Forwarding was off on this machine before any bridge network was opened. */
  forwardingWasOff: boolean;
}

/** One published port as the kernel holds it. */
export interface PublishedRule extends PublishedPort {
  containerId: string;
  address: string;
}

const PROTOCOL_NUMBERS: Record<TransportProtocol, number> = { tcp: 6, udp: 17, sctp: 132 };
const ALL_ADDRESSES = "0.0.0.0";
const DNS_PORT = 53;

/** nft names may hold letters, digits and `/-_.`; everything else, and `_`, is written as `_` and two hex digits. */
export function tableName(owner: string, interfaceName: string): string {
  return `${tablePrefix(owner)}${interfaceName}`;
}

export function tablePrefix(owner: string): string {
  const safe = Array.from(new TextEncoder().encode(owner), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9.-]/.test(character) ? character : `_${byte.toString(16).padStart(2, "0")}`;
  });
  return `vch-${safe.join("")}/`;
}

function element(rule: PublishedRule): { map: string; key: string; text: string } {
  const service = `${PROTOCOL_NUMBERS[rule.protocol]} . ${rule.hostPort}`;
  const anyAddress = rule.hostAddress === ALL_ADDRESSES;
  const key = anyAddress ? service : `${rule.hostAddress} . ${service}`;
  return {
    map: anyAddress ? "any" : "one",
    key,
    text: `${key} comment "${rule.containerId}" : ${rule.address} . ${rule.containerPort}`,
  };
}

/** Lines that add published ports to an existing table. */
export function addElements(table: string, rules: readonly PublishedRule[]): string {
  return rules.map((rule) => `add element inet ${table} ${element(rule).map} { ${element(rule).text} }\n`).join("");
}

export function deleteElements(table: string, rules: readonly PublishedRule[]): string {
  return rules.map((rule) => `delete element inet ${table} ${element(rule).map} { ${element(rule).key} }\n`).join("");
}

const boundElement = ({ address, macAddress }: AddressBinding): string => `${macAddress} . ${address}`;

/** Lines that bind addresses in an existing table. */
export function addBindings(table: string, bindings: readonly AddressBinding[]): string {
  if (bindings.length === 0) return "";
  return `add element inet ${table} bound { ${bindings.map(boundElement).join(", ")} }\n`;
}

export function deleteBindings(table: string, bindings: readonly AddressBinding[]): string {
  if (bindings.length === 0) return "";
  return `delete element inet ${table} bound { ${bindings.map(boundElement).join(", ")} }\n`;
}

/** The whole table, in place of any earlier one. */
export function renderTable(
  table: string,
  options: RulesetOptions,
  rules: readonly PublishedRule[],
  bindings: readonly AddressBinding[],
): string {
  const bridge = `"${options.interfaceName}"`;
  const tcpPorts = [...new Set([DNS_PORT, ...options.allowedPorts])].join(", ");
  const wayOut = options.internal
    ? `iifname ${bridge} reject with icmpx admin-prohibited`
    : `iifname ${bridge} meta nfproto ipv6 drop`;
  const masquerade =
    options.internal || !options.masquerade ? "" : `ip saddr ${options.subnet} oifname != ${bridge} masquerade`;
  return `table inet ${table}
delete table inet ${table}
table inet ${table} {
  comment "${commentOf(options)}"
  map any { type inet_proto . inet_service : ipv4_addr . inet_service; }
  set bound { type ether_addr . ipv4_addr; }
  map one { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }

  # A guest may neither use another subnet's address nor reach what listens on loopback (route_localnet opens that).
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname ${bridge} ip saddr != ${options.subnet} drop
    ${options.checkSources ? `iifname ${bridge} ether saddr . ip saddr != @bound drop` : ""}
    iifname ${bridge} ip daddr 127.0.0.0/8 drop
  }

  chain publish {
    dnat ip to ip daddr . meta l4proto . th dport map @one
    dnat ip to meta l4proto . th dport map @any
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    meta nfproto ipv4 fib daddr type local jump publish
  }
  chain output {
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 fib daddr type local jump publish
  }

  # What guests may reach on this machine: the control link, the resolver, and ping.
  chain input {
    type filter hook input priority filter; policy accept;
    iifname != ${bridge} accept
    ct state established,related accept
    ip daddr ${options.gateway} udp dport ${DNS_PORT} accept
    ip daddr ${options.gateway} tcp dport { ${tcpPorts} } accept
    ip protocol icmp accept
    meta nfproto ipv6 drop
    reject with icmpx admin-prohibited
  }

  # Into the network comes only what answers a guest or was published.
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname ${bridge} oifname ${bridge} accept
    oifname ${bridge} ct state established,related accept
    oifname ${bridge} ip daddr ${options.subnet} ct status dnat accept
    oifname ${bridge} drop
    ${wayOut}
  }

  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname ${bridge} ip saddr ${options.subnet} ct status dnat masquerade
    oifname ${bridge} ip saddr 127.0.0.0/8 masquerade
    ${masquerade}
  }
}
${addElements(table, rules)}${addBindings(table, bindings)}`;
}

function commentOf(options: RulesetOptions): string {
  const forwarding = options.forwardingWasOff ? "off" : "on";
  return `vch bridge network, gateway ${options.gateway}/${options.prefixLength}, forwarding was ${forwarding}`;
}

/** What an earlier run left in the kernel for this network, or undefined when there is no such table. */
export async function readTable(
  table: string,
): Promise<
  { gateway?: string; forwardingWasOff: boolean; rules: PublishedRule[]; bindings: AddressBinding[] } | undefined
> {
  const text = await runCommand(["nft", "list", "table", "inet", table]);
  if (text.exitCode !== 0) return undefined;
  const comment = /comment "vch bridge network, gateway ([0-9./]+), forwarding was (on|off)"/.exec(text.stdout);
  const json = await runCommand(["nft", "-j", "list", "table", "inet", table]);
  return {
    gateway: comment?.[1],
    forwardingWasOff: comment?.[2] === "off",
    rules: json.exitCode === 0 ? parseRules(json.stdout) : [],
    bindings: json.exitCode === 0 ? parseBindings(json.stdout) : [],
  };
}

/** Reads the elements of the maps from nft's JSON; what does not look like ours is left out. */
export function parseRules(json: string): PublishedRule[] {
  const rules: PublishedRule[] = [];
  const document = JSON.parse(json) as { nftables?: unknown };
  for (const entry of asArray(document.nftables)) {
    const map = (entry as { map?: { elem?: unknown } }).map;
    for (const pair of asArray(map?.elem)) {
      const [key, value] = asArray(pair) as [
        { elem?: { val?: { concat?: unknown }; comment?: unknown } }?,
        { concat?: unknown }?,
      ];
      const keyParts = asArray(key?.elem?.val?.concat);
      const [address, containerPort] = asArray(value?.concat);
      const [hostAddress, protocolText, hostPort] = keyParts.length === 3 ? keyParts : [ALL_ADDRESSES, ...keyParts];
      const protocol = protocolOf(protocolText);
      const containerId = key?.elem?.comment;
      if (
        protocol !== undefined &&
        typeof containerId === "string" &&
        typeof hostAddress === "string" &&
        typeof address === "string" &&
        typeof hostPort === "number" &&
        typeof containerPort === "number"
      ) {
        rules.push({ containerId, address, containerPort, protocol, hostAddress, hostPort });
      }
    }
  }
  return rules;
}

/** Reads the elements of the set `bound` from nft's JSON. */
export function parseBindings(json: string): AddressBinding[] {
  const document = JSON.parse(json) as { nftables?: unknown };
  return asArray(document.nftables).flatMap((entry) => {
    const set = (entry as { set?: { name?: unknown; elem?: unknown } }).set;
    if (set?.name !== "bound") return [];
    return asArray(set.elem).flatMap((element): AddressBinding[] => {
      const [macAddress, address] = asArray((element as { concat?: unknown }).concat);
      return typeof macAddress === "string" && typeof address === "string" ? [{ macAddress, address }] : [];
    });
  });
}

const asArray = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** nft prints names when the machine has /etc/protocols and numbers otherwise. */
function protocolOf(value: unknown): TransportProtocol | undefined {
  for (const [name, number] of Object.entries(PROTOCOL_NUMBERS)) {
    if (value === name || value === number || value === String(number)) return name as TransportProtocol;
  }
  return undefined;
}
