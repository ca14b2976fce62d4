import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeAnswers, encodeAttributes, encodeTransaction } from "./netlink.ts";
import { needsNoRules, portRanges, tableChanges } from "./rules.ts";

test("attributes are padded, and nested ones say so", () => {
  expect(Buffer.from(encodeAttributes([[1, "ab"]])).toString("hex")).toBe("0700010061620000");
  expect(Buffer.from(encodeAttributes([[2, [[3, 1]]]])).toString("hex")).toBe("0c0002800800030000000001");
});

test("a transaction is one batch whose last change is acknowledged", () => {
  const bytes = encodeTransaction(
    tableChanges([{ name: "eth0", firewall: { trust: "closed", ports: [], peers: [] } }]),
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const types: number[] = [];
  let acknowledged = 0;
  for (let offset = 0; offset < bytes.length; offset += view.getUint32(offset, true)) {
    types.push(view.getUint16(offset + 4, true));
    if (view.getUint16(offset + 6, true) & 4) acknowledged++;
  }
  expect(types[0]).toBe(0x10);
  expect(types.at(-1)).toBe(0x11);
  // Table made, removed and made again; three chains; four rules.
  expect(types.slice(1, -1)).toEqual([0, 2, 0, 3, 3, 3, 6, 6, 6, 6].map((type) => 0x0a00 | type));
  expect(acknowledged).toBe(1);
});

test("open networks need no rules, unless a port leads elsewhere", () => {
  const open = (port: number, target: number) => [
    {
      name: "eth0",
      firewall: { trust: "open" as const, ports: [{ protocol: "tcp" as const, port, target }], peers: [] },
    },
  ];
  expect(needsNoRules(open(80, 80))).toBe(true);
  expect(tableChanges(open(80, 80))).toHaveLength(2);
  expect(needsNoRules(open(8080, 80))).toBe(false);
});

test("neighbouring ports are one range; nothing is lost or gained", () => {
  const port = fc.record({
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    port: fc.integer({ min: 1, max: 40 }),
  });
  fc.assert(
    fc.property(fc.array(port), (ports) => {
      const ranges = portRanges(ports.map((one) => ({ ...one, target: one.port })));
      const covered = ranges.flatMap(({ protocol, first, last }) =>
        Array.from({ length: last - first + 1 }, (_, index) => `${protocol} ${first + index}`),
      );
      expect(new Set(covered)).toEqual(new Set(ports.map((one) => `${one.protocol} ${one.port}`)));
      expect(covered).toHaveLength(new Set(covered).size);
    }),
  );
});

test("too many ports are refused", () => {
  const ports = Array.from({ length: 500 }, (_, index) => ({
    protocol: "tcp" as const,
    port: 1000 + index,
    target: 80,
  }));
  expect(() => tableChanges([{ name: "eth0", firewall: { trust: "published", ports, peers: [] } }])).toThrow("rules");
});

test("any bytes are answers or none", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => decodeAnswers(bytes).length <= bytes.length / 16));
});
