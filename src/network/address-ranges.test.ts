import { expect, test } from "bun:test";
import fc from "fast-check";
import { networkOf } from "../format/ip-address.ts";
import { createAddressRanges } from "./address-ranges.ts";

const subnet = networkOf({ family: 4, value: 0x0a000000n }, 24);
const open = (ranges: [first: string, last: string][], inUse: string[] = []) =>
  createAddressRanges({
    subnet,
    ranges: ranges.map(([first, last]) => ({ first, last })),
    reserved: ["10.0.0.1"],
    inUse: () => inUse,
  });

test("every address of all ranges is given once, the gateway never", () => {
  const pool = open([
    ["10.0.0.1", "10.0.0.3"],
    ["10.0.0.8", "10.0.0.8"],
    ["10.0.0.254", "10.0.0.255"],
  ]);
  const given = Array.from({ length: 4 }, () => pool.lease().address);
  expect(given).toEqual(["10.0.0.2", "10.0.0.3", "10.0.0.8", "10.0.0.254"]);
  expect(() => pool.lease()).toThrow("no available IPv4 addresses");
});

test("an address that came back is given again, after the others", () => {
  const pool = open([["10.0.0.2", "10.0.0.4"]]);
  pool.lease().release();
  expect(pool.lease().address).toBe("10.0.0.3");
  expect(pool.lease().address).toBe("10.0.0.4");
  expect(pool.lease().address).toBe("10.0.0.2");
});

test("a wanted address must be in a range and free", () => {
  const pool = open([["10.0.0.10", "10.0.0.20"]], ["10.0.0.11"]);
  expect(pool.lease("10.0.0.12").address).toBe("10.0.0.12");
  expect(() => pool.lease("10.0.0.12")).toThrow("Address already in use");
  expect(() => pool.lease("10.0.0.11")).toThrow("Address already in use");
  expect(() => pool.lease("10.0.0.21")).toThrow("10.0.0.10-10.0.0.20");
  expect(() => pool.lease("fd00::1")).toThrow("invalid IPv4 address");
});

test("ranges outside of the subnet are refused", () => {
  expect(() => open([["10.0.0.9", "10.0.1.2"]])).toThrow("not inside of 10.0.0.0/24");
  expect(() => open([["10.0.0.9", "10.0.0.2"]])).toThrow("invalid range");
});

test("whatever is leased and released: never one address twice, and none free is refused", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(8), { maxLength: 60 }), (steps) => {
      const pool = open([
        ["10.0.0.2", "10.0.0.4"],
        ["10.0.0.9", "10.0.0.11"],
      ]);
      const held: ReturnType<typeof pool.lease>[] = [];
      for (const step of steps) {
        if (step < 5 && held.length < 6) {
          const lease = pool.lease();
          expect(held.map(({ address }) => address)).not.toContain(lease.address);
          held.push(lease);
        } else held.splice(step % Math.max(1, held.length), 1)[0]?.release();
      }
    }),
  );
});
