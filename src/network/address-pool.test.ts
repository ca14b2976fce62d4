import { expect, test } from "bun:test";
import { createAddressPool } from "./address-pool.ts";
import { hostSubnet } from "./host-subnet.ts";

const pool = (inUse: string[] = [], options: Partial<Parameters<typeof createAddressPool>[0]> = {}) =>
  createAddressPool({ subnet: "10.1.0.0/29", reserved: ["10.1.0.1"], inUse: () => inUse, ...options });

test("hands out every address once, and again when it is free", () => {
  const inUse = ["10.1.0.3"];
  const addresses = pool(inUse);
  const leases = [2, 4, 5, 6].map((last) => {
    const lease = addresses.lease();
    expect(lease.address).toBe(`10.1.0.${last}`);
    return lease;
  });
  expect(() => addresses.lease()).toThrow("no available IPv4 addresses");
  leases[1]?.release();
  leases[1]?.release();
  inUse.length = 0;
  // The least recently used comes last.
  expect([addresses.lease().address, addresses.lease().address].sort()).toEqual(["10.1.0.3", "10.1.0.4"]);
});

test("explicit addresses conflict with Docker's words", () => {
  const addresses = pool(["10.1.0.3"]);
  for (const taken of ["10.1.0.3", "10.1.0.1"]) expect(() => addresses.lease(taken)).toThrow("Address already in use");
  expect(addresses.lease("10.1.0.2").address).toBe("10.1.0.2");
  expect(() => addresses.lease("10.1.0.2")).toThrow("Address already in use");
  for (const wrong of ["10.2.0.2", "10.1.0.0", "10.1.0.7"])
    expect(() => addresses.lease(wrong)).toThrow("does not belong");
  expect(() => addresses.lease("10.1.0")).toThrow("invalid IPv4 address");
});

test("a lease range limits what is handed out, not what may be asked for", () => {
  const addresses = pool([], { leaseRange: "10.1.0.4/30" });
  expect(addresses.lease().address).toBe("10.1.0.4");
  expect(addresses.lease("10.1.0.3").address).toBe("10.1.0.3");
  expect(() => pool([], { leaseRange: "10.1.1.0/30" })).toThrow("not inside");
});

test("IPv6: every address but the network's own, by any spelling, and nothing of IPv4", () => {
  const inUse = ["10.1.0.2", "fd00:1:0::2"];
  const addresses = createAddressPool({ subnet: "fd00:1::/126", reserved: ["fd00:1::1"], inUse: () => inUse });
  expect(addresses).toMatchObject({ subnet: "fd00:1::/126", prefixLength: 126 });
  const lease = addresses.lease();
  expect(lease.address).toBe("fd00:1::3");
  expect(() => addresses.lease()).toThrow("no available IPv6 addresses");
  for (const taken of ["fd00:1:0:0::3", "FD00:1::1", "fd00:1::2"])
    expect(() => addresses.lease(taken)).toThrow("Address already in use");
  for (const wrong of ["fd00:1::", "fd00:2::1"]) expect(() => addresses.lease(wrong)).toThrow("does not belong");
  for (const wrong of ["10.1.0.3", "fd00:1::3%eth0", "x"])
    expect(() => addresses.lease(wrong)).toThrow("invalid IPv6 address");
  lease.release();
  expect(addresses.lease("fd00:1::0003").address).toBe("fd00:1::3");
});

test("a subnet of 64 bits is as quick as a small one", () => {
  const inUse = Array.from({ length: 500 }, (_, index) => `fd00::${(index + 2).toString(16)}`);
  const addresses = createAddressPool({ subnet: "fd00::/64", reserved: ["fd00::1"], inUse: () => inUse });
  expect(addresses.lease().address).toBe("fd00::1f6");
  expect(addresses.lease("fd00::ffff:ffff:ffff:ffff").address).toBe("fd00::ffff:ffff:ffff:ffff");
});

test("subnets that hosts can be on", () => {
  for (const text of ["10.0.0.0", "10.0.0.0/31", "10.0.0.0/0", "10.0.0.0/8/9", "fd00::/127", "::/0", "fd00::"])
    expect(() => hostSubnet(text)).toThrow("invalid subnet");
});
