/**
 * The rules of a container's own firewall: what a container network's trust level lets in and out (docs/networking.md). One table
 * of the family inet, replaced as a whole.
 */
import type { FirewallConfiguration, InterfaceConfiguration, OpenPort } from "../../../src/link/guest-configuration.ts";
import {
  accept,
  comesFrom,
  comesIn,
  drop,
  goesOut,
  goesTo,
  hasIcmpType,
  isAnswer,
  isIpv4,
  type Match,
  PROTOCOL,
  redirectTo,
  toPorts,
  usesProtocol,
  wasRedirected,
} from "./expressions.ts";
import { type Attribute, type Change, MESSAGE } from "./netlink.ts";

export const TABLE = "vch";
/** Rules of one container: what the kernel takes in one transaction, with room to spare. */
const RULE_LIMIT = 400;
const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3 } as const;
const PRIORITY = { filter: 0, translation: -100 } as const;
const POLICY_ACCEPT = 1;
const ICMP_ECHO = 8;
const ICMPV6_ECHO = 128;
/** Router and neighbour discovery and redirects, without which IPv6 does not work. */
const ICMPV6_NEIGHBOURS = [133, 137] as const;

type Chain = "input" | "output" | "forward" | "redirects";
type Rule = [chain: Chain, ...matches: Match[]];

/** An address range of peers. */
export interface GuardedInterface {
  name: string;
  firewall: FirewallConfiguration;
}

export const guardedInterfaces = (interfaces: readonly InterfaceConfiguration[]): GuardedInterface[] =>
  interfaces.flatMap(({ name, firewall }) => (firewall === undefined ? [] : [{ name, firewall }]));

/** True when nothing has to be kept out or led elsewhere, so that a kernel without nf_tables will do. */
export const needsNoRules = (guarded: readonly GuardedInterface[]): boolean => guarded.flatMap(rulesOf).length === 0;

/** The table as it shall be; without rules it goes. Throws when there are too many. */
export function tableChanges(guarded: readonly GuardedInterface[]): Change[] {
  const rules = guarded.flatMap(rulesOf);
  if (rules.length > RULE_LIMIT)
    throw new Error(`the ports published on container networks need ${rules.length} rules, more than ${RULE_LIMIT}`);
  const table: Attribute[] = [[1, TABLE]];
  // Made first, so that it is there to be removed.
  const fresh: Change[] = [
    { message: MESSAGE.newTable, attributes: table },
    { message: MESSAGE.deleteTable, attributes: table },
  ];
  if (rules.length === 0) return fresh;
  const chains: Change[] = [
    chain("input", "filter", HOOK.input, PRIORITY.filter),
    chain("output", "filter", HOOK.output, PRIORITY.filter),
    chain("forward", "filter", HOOK.forward, PRIORITY.filter),
    ...(rules.some(([name]) => name === "redirects")
      ? [chain("redirects", "nat", HOOK.prerouting, PRIORITY.translation)]
      : []),
  ];
  return [...fresh, { message: MESSAGE.newTable, attributes: table }, ...chains, ...rules.map(rule)];
}

const chain = (name: Chain, type: string, hook: number, priority: number): Change => ({
  message: MESSAGE.newChain,
  attributes: [
    [1, TABLE],
    [3, name],
    [
      4,
      [
        [1, hook],
        [2, priority],
      ],
    ],
    [5, POLICY_ACCEPT],
    [7, type],
  ],
});

const rule = ([name, ...matches]: Rule): Change => ({
  message: MESSAGE.newRule,
  attributes: [
    [1, TABLE],
    [2, name],
    [4, matches.flat().map((expression): Attribute => [1, expression])],
  ],
});

function rulesOf({ name, firewall }: GuardedInterface): Rule[] {
  const incoming = comesIn(name);
  const outgoing = goesOut(name);
  switch (firewall.trust) {
    case "open":
      return redirects(name, firewall.ports);
    case "closed":
      return [
        ["input", incoming, drop()],
        ["forward", incoming, drop()],
        ["forward", outgoing, drop()],
        ["output", outgoing, drop()],
      ];
    case "control": {
      const { address, port } = firewall.endpoint;
      const toEndpoint = [isIpv4(), goesTo(address), usesProtocol(PROTOCOL.tcp), toPorts(port, port)].flat();
      return [
        ["input", incoming, isAnswer(), accept()],
        ["input", incoming, drop()],
        ["forward", incoming, drop()],
        ["forward", outgoing, drop()],
        ["output", outgoing, toEndpoint, accept()],
        ["output", outgoing, drop()],
      ];
    }
    default:
      return [
        ["input", incoming, isAnswer(), accept()],
        ["input", incoming, usesProtocol(PROTOCOL.icmpv6), hasIcmpType(...ICMPV6_NEIGHBOURS), accept()],
        ...letIn(name, firewall),
        ["input", incoming, drop()],
        ["forward", incoming, isAnswer(), accept()],
        ["forward", incoming, drop()],
      ];
  }
}

function letIn(name: string, firewall: Exclude<FirewallConfiguration, { trust: "control" }>): Rule[] {
  const incoming = comesIn(name);
  switch (firewall.trust) {
    case "peers":
      return [
        ...firewall.peers.map(
          ({ first, last }): Rule => ["input", incoming, isIpv4(), comesFrom(first, last), accept()],
        ),
        ...redirects(name, firewall.ports),
      ];
    case "published":
      return [
        ["input", incoming, usesProtocol(PROTOCOL.icmp), hasIcmpType(ICMP_ECHO), accept()],
        ["input", incoming, usesProtocol(PROTOCOL.icmpv6), hasIcmpType(ICMPV6_ECHO), accept()],
        ...portRanges(firewall.ports.filter(({ port, target }) => port === target)).map(
          ({ protocol, first, last }): Rule => [
            "input",
            incoming,
            usesProtocol(PROTOCOL[protocol]),
            toPorts(first, last),
            accept(),
          ],
        ),
        ...(firewall.ports.some(({ port, target }) => port !== target)
          ? [["input", incoming, wasRedirected(), accept()] satisfies Rule]
          : []),
        ...redirects(name, firewall.ports),
      ];
    default:
      return [];
  }
}

const redirects = (name: string, ports: readonly OpenPort[]): Rule[] =>
  ports
    .filter(({ port, target }) => port !== target)
    .map(({ protocol, port, target }) => [
      "redirects",
      comesIn(name),
      usesProtocol(PROTOCOL[protocol]),
      toPorts(port, port),
      redirectTo(target),
    ]);

interface PortRange {
  protocol: OpenPort["protocol"];
  first: number;
  last: number;
}

/** Neighbouring ports together: a published range is one rule. */
export function portRanges(ports: readonly OpenPort[]): PortRange[] {
  const ranges: PortRange[] = [];
  const sorted = ports.toSorted((a, b) => a.protocol.localeCompare(b.protocol) || a.port - b.port);
  for (const { protocol, port } of sorted) {
    const before = ranges.at(-1);
    if (before?.protocol === protocol && port <= before.last + 1) before.last = Math.max(before.last, port);
    else ranges.push({ protocol, first: port, last: port });
  }
  return ranges;
}
