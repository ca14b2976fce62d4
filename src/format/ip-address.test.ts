import { expect, test } from "bun:test";
import { isIP } from "node:net";
import fc from "fast-check";
import {
  canonicalIp,
  formatIp,
  formatNetwork,
  ipBytes,
  networkHas,
  networksOverlap,
  parseIp,
  parseNetwork,
  reverseAddress,
} from "./ip-address.ts";

const network = (text: string) => {
  const parsed = parseNetwork(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

test("canonical spellings are those of RFC 5952, section 4", () => {
  for (const [text, canonical] of [
    ["2001:0DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["fd00:0:0:0:0:0:0:0", "fd00::"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["10.0.0.1", "10.0.0.1"],
  ] as const)
    expect(canonicalIp(text)).toBe(canonical);
});

test("what is no address is none, as node:net sees it", () => {
  for (const text of [
    "",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "1.2.3",
    "256.1.1.1",
    "01.2.3.4",
    "::1.2.3",
    "1:2:3:4:5:6:7::8",
    "::1 ",
  ])
    expect(parseIp(text)).toBeUndefined();
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.]{0,20}$/)), (text) => {
      expect(parseIp(text)?.family ?? 0).toBe(isIP(text) as 0 | 4 | 6);
    }),
  );
});

test("any value has one spelling that reads back", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (value) => {
      const text = formatIp({ family: 6, value });
      expect(parseIp(text)).toEqual({ family: 6, value });
      expect(BigInt(`0x${Buffer.from(ipBytes({ family: 6, value })).toString("hex")}`)).toBe(value);
    }),
  );
});

test("networks", () => {
  expect(formatNetwork(network("fd00:1:2:3::99/64"))).toBe("fd00:1:2:3::/64");
  expect(formatNetwork(network("10.1.2.3/8"))).toBe("10.0.0.0/8");
  expect(formatNetwork(network("::/0"))).toBe("::/0");
  for (const text of ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "fd00::/", "fd00::/064", "fd00::/1/2"])
    expect(parseNetwork(text)).toBeUndefined();
  expect(networkHas(network("fd00::/64"), { family: 4, value: 1n })).toBe(false);
  expect(networkHas(network("fd00::/126"), { family: 6, value: network("fd00::3/128").first })).toBe(true);
  expect(networksOverlap(network("fd00::/48"), network("fd00:0:0:5::/64"))).toBe(true);
  expect(networksOverlap(network("0.0.0.0/0"), network("::/0"))).toBe(false);
});

test("names of reverse look-ups", () => {
  expect(reverseAddress("4.3.2.1.in-addr.arpa")).toBe("1.2.3.4");
  expect(reverseAddress(`1.${"0.".repeat(27)}0.0.d.f.ip6.arpa`)).toBe("fd00::1");
  expect(reverseAddress("1.0.ip6.arpa")).toBeUndefined();
  expect(reverseAddress("example.org")).toBeUndefined();
});
