/** The nftables table of one bridge network: its text, and reading the published ports back from the kernel. */
import type { Family } from "../format/ip-address.ts";
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
  ipv6?: Ipv6Rules;
}

/** What the rules have to know of a network's IPv6 side. */
export interface Ipv6Rules {
  subnet: string;
  gateway: string;
  prefixLength: number;
  forwardingWasOff: boolean;
}

/** One published port as the kernel holds it. */
export interface PublishedRule extends PublishedPort {
  containerId: string;
  address: string;
}

const PROTOCOL_NUMBERS: Record<TransportProtocol, number> = { tcp: 6, udp: 17, sctp: 132 };
/** Host addresses that mean all of a family. */
export const ALL_ADDRESSES: Record<Family, string> = { 4: "0.0.0.0", 6: "::" };
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

/** Names of maps and sets for IPv6 end in 6. */
const suffixOf = (address: string): "" | "6" => (address.includes(":") ? "6" : "");
const familyOf = (address: string): Family => (address.includes(":") ? 6 : 4);

function element(rule: PublishedRule): { map: string; key: string; text: string } {
  const service = `${PROTOCOL_NUMBERS[rule.protocol]} . ${rule.hostPort}`;
  const anyAddress = rule.hostAddress === ALL_ADDRESSES[familyOf(rule.address)];
  const key = anyAddress ? service : `${rule.hostAddress} . ${service}`;
  return {
    map: `${anyAddress ? "any" : "one"}${suffixOf(rule.address)}`,
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

/** Lines that bind addresses in an existing table. */
export const addBindings = (table: string, bindings: readonly AddressBinding[]): string =>
  changeBindings("add", table, bindings);

export const deleteBindings = (table: string, bindings: readonly AddressBinding[]): string =>
  changeBindings("delete", table, bindings);

function changeBindings(action: "add" | "delete", table: string, bindings: readonly AddressBinding[]): string {
  return (["", "6"] as const)
    .map((suffix) => {
      const elements = bindings.filter(({ address }) => suffixOf(address) === suffix);
      const texts = elements.map(({ address, macAddress }) => `${macAddress} . ${address}`);
      return texts.length === 0 ? "" : `${action} element inet ${table} bound${suffix} { ${texts.join(", ")} }\n`;
    })
    .join("");
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
  const { ipv6 } = options;
  const only6 = (text: string): string => (ipv6 ? text : "");
  const refuse6 = ipv6 ? "" : `iifname ${bridge} meta nfproto ipv6 drop`;
  const wayOut = options.internal ? `iifname ${bridge} reject with icmpx admin-prohibited` : refuse6;
  const masquerade =
    options.internal || !options.masquerade ? "" : `ip saddr ${options.subnet} oifname != ${bridge} masquerade`;
  return `table inet ${table}
delete table inet ${table}
table inet ${table} {
  comment "${commentOf(options)}"
  map any { type inet_proto . inet_service : ipv4_addr . inet_service; }
  set bound { type ether_addr . ipv4_addr; }
  map one { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  ${only6(`map any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  set bound6 { type ether_addr . ipv6_addr; }
  map one6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }`)}

  # A guest may neither use another subnet's address nor reach what listens on loopback (route_localnet opens that).
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname ${bridge} ip saddr != ${options.subnet} drop
    ${options.checkSources ? `iifname ${bridge} ether saddr . ip saddr != @bound drop` : ""}
    iifname ${bridge} ip daddr 127.0.0.0/8 drop
    ${ipv6 ? guard6(bridge, ipv6, options.checkSources) : ""}
  }

  chain publish {
    dnat ip to ip daddr . meta l4proto . th dport map @one
    dnat ip to meta l4proto . th dport map @any
  }
  ${only6(`chain publish6 {
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @one6
    dnat ip6 to meta l4proto . th dport map @any6
  }`)}
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    meta nfproto ipv4 fib daddr type local jump publish
    ${only6("meta nfproto ipv6 fib daddr type local jump publish6")}
  }
  chain output {
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 fib daddr type local jump publish
    ${only6("ip6 daddr != ::1 fib daddr type local jump publish6")}
  }

  # What guests may reach on this machine: the control link, the resolver, and ping.
  chain input {
    type filter hook input priority filter; policy accept;
    iifname != ${bridge} accept
    ct state established,related accept
    ip daddr ${options.gateway} udp dport ${DNS_PORT} accept
    ip daddr ${options.gateway} tcp dport { ${tcpPorts} } accept
    ip protocol icmp accept
    ${only6("icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept")}
    ${ipv6 ? "" : "meta nfproto ipv6 drop"}
    reject with icmpx admin-prohibited
  }

  # Into the network comes only what answers a guest or was published.
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname ${bridge} oifname ${bridge} accept
    oifname ${bridge} ct state established,related accept
    oifname ${bridge} ip daddr ${options.subnet} ct status dnat accept
    ${ipv6 ? `oifname ${bridge} ip6 daddr ${ipv6.subnet} ct status dnat accept` : ""}
    oifname ${bridge} drop
    ${wayOut}
  }

  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname ${bridge} ip saddr ${options.subnet} ct status dnat masquerade
    oifname ${bridge} ip saddr 127.0.0.0/8 masquerade
    ${masquerade}
    ${ipv6 ? `oifname ${bridge} ip6 saddr ${ipv6.subnet} ct status dnat masquerade` : ""}
    ${ipv6 && masquerade !== "" ? `ip6 saddr ${ipv6.subnet} oifname != ${bridge} masquerade` : ""}
  }
}
${addElements(table, rules)}${addBindings(table, bindings)}`;
}

/** Link-local addresses, and none at all, are neighbour discovery's: the kernel forwards nothing of them. */
function guard6(bridge: string, { subnet }: Ipv6Rules, checkSources: boolean): string {
  const bound = `iifname ${bridge} ip6 saddr ${subnet} ether saddr . ip6 saddr != @bound6 drop`;
  return `iifname ${bridge} ip6 saddr != { ::, fe80::/10, ${subnet} } drop
    ${checkSources ? bound : ""}`;
}

/** The kernel takes 127 characters: with the longest addresses these are 125. */
function commentOf({ gateway, prefixLength, forwardingWasOff, ipv6 }: RulesetOptions): string {
  const word = (wasOff: boolean): string => (wasOff ? "off" : "on");
  const more = ipv6 ? `; IPv6 ${ipv6.gateway}/${ipv6.prefixLength}, was ${word(ipv6.forwardingWasOff)}` : "";
  return `vch bridge network, gateway ${gateway}/${prefixLength}, forwarding was ${word(forwardingWasOff)}${more}`;
}

/** In the listing of any rules: one of our networks found IPv6 forwarding off when it came. */
export const IPV6_FORWARDING_WAS_OFF = /comment "vch bridge network, [^"]*; IPv6 [^"]*, was off"/;

export interface TableContents {
  gateway?: string;
  forwardingWasOff: boolean;
  gateway6?: string;
  forwarding6WasOff: boolean;
  rules: PublishedRule[];
  bindings: AddressBinding[];
}

/** What an earlier run left in the kernel for this network, or undefined when there is no such table. */
export async function readTable(table: string): Promise<TableContents | undefined> {
  const text = await runCommand(["nft", "list", "table", "inet", table]);
  if (text.exitCode !== 0) return undefined;
  const comment =
    /comment "vch bridge network, gateway ([0-9./]+), forwarding was (on|off)(?:; IPv6 ([0-9a-f:./]+), was (on|off))?"/.exec(
      text.stdout,
    );
  const json = await runCommand(["nft", "-j", "list", "table", "inet", table]);
  return {
    gateway: comment?.[1],
    forwardingWasOff: comment?.[2] === "off",
    gateway6: comment?.[3],
    forwarding6WasOff: comment?.[4] === "off",
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
      const anyAddress = typeof address === "string" ? ALL_ADDRESSES[familyOf(address)] : undefined;
      const [hostAddress, protocolText, hostPort] = keyParts.length === 3 ? keyParts : [anyAddress, ...keyParts];
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

/** Reads the elements of the sets `bound` and `bound6` from nft's JSON. */
export function parseBindings(json: string): AddressBinding[] {
  const document = JSON.parse(json) as { nftables?: unknown };
  return asArray(document.nftables).flatMap((entry) => {
    const set = (entry as { set?: { name?: unknown; elem?: unknown } }).set;
    if (set?.name !== "bound" && set?.name !== "bound6") return [];
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
