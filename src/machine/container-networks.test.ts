import { expect, test } from "bun:test";
import { type ContainerNetworkRequest, parseContainerNetworks } from "./container-networks.ts";

const parse = (request: Partial<ContainerNetworkRequest>) =>
  parseContainerNetworks({ networks: [], gateways: [], ranges: [], nameServers: [], firewalls: [], ...request });

test("a port group with a name, static addresses, name servers and a trust level", () => {
  expect(
    parse({
      networks: ["Production VLAN 7:prod", "lan"],
      gateways: ["Production VLAN 7:10.1.2.1/24"],
      ranges: ["Production VLAN 7:10.1.2.10-10.1.2.19", "Production VLAN 7:10.1.2.64/28"],
      nameServers: ["Production VLAN 7:10.1.2.3"],
      firewalls: ["lan:open"],
    }),
  ).toEqual([
    {
      name: "prod",
      portGroup: "Production VLAN 7",
      trust: "published",
      nameServers: ["10.1.2.3"],
      addresses: {
        gateway: "10.1.2.1",
        prefixLength: 24,
        ranges: [
          { first: "10.1.2.10", last: "10.1.2.19" },
          { first: "10.1.2.64", last: "10.1.2.79" },
        ],
      },
    },
    { name: "lan", portGroup: "lan", trust: "open", nameServers: [] },
  ]);
});

test.each<[string, Partial<ContainerNetworkRequest>, string]>([
  ["a name that docker does not take", { networks: ["VM Network"] }, "PORTGROUP:NAME"],
  ["a name that docker has", { networks: ["lan:bridge"] }, 'docker has a network "bridge"'],
  ["the same twice", { networks: ["a:x", "b:x"] }, "once"],
  ["an unknown port group", { networks: ["a"], firewalls: ["b:open"] }, "there is no --container-network b"],
  ["a range without gateway", { networks: ["a"], ranges: ["a:10.0.0.2-10.0.0.9"] }, "--container-network-gateway a:"],
  ["a gateway without range", { networks: ["a"], gateways: ["a:10.0.0.1/24"] }, "--container-network-ip-range a:"],
  ["a gateway without prefix", { networks: ["a"], gateways: ["a:10.0.0.1"] }, "10.1.2.1/24"],
  ["the broadcast address", { networks: ["a"], gateways: ["a:10.0.0.255/24"] }, "broadcast"],
  [
    "a range outside",
    { networks: ["a"], gateways: ["a:10.0.0.1/24"], ranges: ["a:10.0.0.9-10.0.1.9"] },
    "not inside of the gateway's subnet 10.0.0.0/24",
  ],
  [
    "a range backwards",
    { networks: ["a"], gateways: ["a:10.0.0.1/24"], ranges: ["a:10.0.0.9-10.0.0.2"] },
    "FIRST-LAST",
  ],
  ["a name for a name server", { networks: ["a"], nameServers: ["a:ns.example"] }, "IPv4 address"],
  ["an unknown trust level", { networks: ["a"], firewalls: ["a:secure"] }, "closed, outbound, peers, published, open"],
])("refused: %s", (_what, request, reason) => {
  expect(() => parse(request)).toThrow(reason);
});
