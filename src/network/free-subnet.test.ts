import { expect, test } from "bun:test";
import { networkIncludes, networksOverlap, parseNetwork } from "../format/ip-address.ts";
import { firstAddress, freeSubnet, machineSubnets } from "./free-subnet.ts";

const network = (text: string) => {
  const parsed = parseNetwork(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

test("IPv4 pools are Docker's, in order", () => {
  expect(freeSubnet(4, [], "a")).toBe("172.17.0.0/16");
  expect(freeSubnet(4, [network("172.16.0.0/12")], "a")).toBe("192.168.0.0/20");
  expect(() => freeSubnet(4, [network("0.0.0.0/0")], "a")).toThrow(
    "all predefined address pools have been fully subnetted",
  );
});

test("IPv6 networks of one VCH are parts of one unique local prefix, another one's of another", () => {
  const first = network(freeSubnet(6, [], "a"));
  const second = network(freeSubnet(6, [first], "a"));
  const other = network(freeSubnet(6, [], "b"));
  expect(networkIncludes(network("fd00::/8"), first)).toBe(true);
  expect([first.prefixLength, second.prefixLength]).toEqual([64, 64]);
  expect(second.first - first.first).toBe(1n << 64n);
  expect(networksOverlap(network(`${firstAddress(freeSubnet(6, [], "a"))}/48`), other)).toBe(false);
  expect(freeSubnet(6, [], "a")).toBe(freeSubnet(6, [network("10.0.0.0/8")], "a"));
});

test("what this machine has is known, link-local and default routes aside", () => {
  const found = machineSubnets();
  expect(found.some(({ family, first }) => family === 4 && first >> 24n === 127n)).toBe(true);
  expect(found.some(({ prefixLength }) => prefixLength === 0)).toBe(false);
  expect(found.some((one) => networksOverlap(one, network("fe80::/10")))).toBe(false);
});
