/** IPv6 of one adapter: addresses are given, never made up by the guest, and routers are believed by nobody. */
import { closeSync, existsSync, writeFileSync } from "node:fs";
import { ipBytes, parseIp } from "../../src/format/ip-address.ts";
import type { InterfaceAddress } from "../../src/link/guest-configuration.ts";
import { ioctl, SystemError, socket } from "../system/libc.ts";

const AF_INET6 = 10;
const SOCK_DGRAM = 2;
/** SIOCADDRT, SIOCDELRT and SIOCSIFADDR on a socket of AF_INET6 take other structures than on one of AF_INET. */
const REQUEST = { addRoute: 0x890b, deleteRoute: 0x890c, setAddress: 0x8916 } as const;
const ROUTE_UP_GATEWAY = 0x3;

const settingPath = (name: string, setting: string): string => `/proc/sys/net/ipv6/conf/${name}/${setting}`;

/**
 * To be called before the adapter is up. Without addresses it speaks no IPv6 at all, as in Docker. With some, neighbours cannot
 * hand it routers or addresses, and an address is usable at once (the endpoint gives each to one adapter only, so
 * there is no need to ask whether somebody has it). Throws when the kernel has no IPv6 and addresses are wanted.
 */
export const prepareIPv6 = (name: string, wanted: boolean): void => {
  if (!existsSync(settingPath(name, "disable_ipv6"))) {
    if (wanted) throw new Error(`network interface ${name}: the kernel has no IPv6 and the network does`);
    return;
  }
  writeFileSync(settingPath(name, "disable_ipv6"), wanted ? "0" : "1");
  if (!wanted) return;
  for (const setting of ["accept_ra", "accept_redirects", "accept_dad"]) writeFileSync(settingPath(name, setting), "0");
};

const withControl = <T>(work: (control: number) => T): T => {
  const control = socket(AF_INET6, SOCK_DGRAM, 0);
  try {
    return work(control);
  } finally {
    closeSync(control);
  }
};

const putAddress = (target: Uint8Array, offset: number, text: string): void => {
  const address = parseIp(text);
  if (address?.family !== 6) throw new Error(`${text} is not an IPv6 address`);
  target.set(ipBytes(address), offset);
};

/** `index` is the adapter's interface index. Adding an address that is there changes nothing. */
export const addIPv6Addresses = (index: number, addresses: readonly InterfaceAddress[]): void =>
  withControl((control) => {
    for (const { address, prefixLength } of addresses) {
      // struct in6_ifreq: address, prefix length, interface index.
      const assignment = new Uint8Array(24);
      const view = new DataView(assignment.buffer);
      putAddress(assignment, 0, address);
      view.setUint32(16, prefixLength, true);
      view.setInt32(20, index, true);
      ioctl(control, REQUEST.setAddress, assignment);
    }
  });

/** struct in6_rtmsg of the default route: destination, source, gateway, type, lengths, metric, info, flags, index. */
const defaultRoute = (gateway: string, index: number): Uint8Array => {
  const route = new Uint8Array(80);
  const view = new DataView(route.buffer);
  putAddress(route, 32, gateway);
  view.setUint32(56, 1, true);
  view.setUint32(72, ROUTE_UP_GATEWAY, true);
  view.setInt32(76, index, true);
  return route;
};

export interface IPv6Route {
  gateway: string;
  /** Of the interface. */
  index: number;
}

/** Another default route in place of the present one; either may be missing. */
export const replaceIPv6DefaultRoute = (present: IPv6Route | undefined, wanted: IPv6Route | undefined): void =>
  withControl((control) => {
    if (present !== undefined)
      try {
        ioctl(control, REQUEST.deleteRoute, defaultRoute(present.gateway, present.index));
      } catch (error) {
        // It went with its interface, or the container's own process took it away.
        if (!(error instanceof SystemError)) throw error;
      }
    if (wanted !== undefined) ioctl(control, REQUEST.addRoute, defaultRoute(wanted.gateway, wanted.index));
  });
