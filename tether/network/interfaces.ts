import { closeSync, readdirSync, readFileSync } from "node:fs";
import type { InterfaceConfiguration } from "../../src/link/guest-configuration.ts";
import { waitForDevice } from "../boot/uevents.ts";
import { ERRNO, ioctl, SystemError, socket } from "../system/libc.ts";
import { addIPv6Addresses, prepareIPv6, replaceIPv6DefaultRoute } from "./ipv6.ts";

/** Milliseconds to wait for a network interface that the configuration names. */
const INTERFACE_WAIT_LIMIT = 5_000;

const AF_INET = 2;
const SOCK_DGRAM = 2;
const REQUEST = {
  addRoute: 0x890b,
  deleteRoute: 0x890c,
  setFlags: 0x8914,
  setAddress: 0x8916,
  setNetmask: 0x891c,
  setMtu: 0x8922,
  setName: 0x8923,
  interfaceIndex: 0x8933,
} as const;
const FLAG_UP = 1;
const ROUTE_UP_GATEWAY = 0x3;

/** struct ifreq: 16 bytes of name and 24 of value. */
const interfaceRequest = (name: string, fill: (value: DataView) => void = () => undefined): Uint8Array => {
  const request = new Uint8Array(40);
  request.set(Buffer.from(name).subarray(0, 15));
  fill(new DataView(request.buffer, 16));
  return request;
};

const putAddress = (view: DataView, offset: number, address: string): void => {
  view.setUint16(offset, AF_INET, true);
  for (const [index, part] of address.split(".").entries()) view.setUint8(offset + 4 + index, Number(part));
};

const netmask = (prefix: number): string => {
  const bits = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join(".");
};

export const interfaceByMac = (mac: string): string | undefined =>
  readdirSync("/sys/class/net").find((name) => {
    try {
      return readFileSync(`/sys/class/net/${name}/address`, "utf8").trim() === mac;
    } catch {
      // Gone or renamed since the directory was read.
      return false;
    }
  });

const setFlags = (control: number, name: string, flags: number): void =>
  ioctl(
    control,
    REQUEST.setFlags,
    interfaceRequest(name, (view) => view.setUint16(0, flags, true)),
  );

const setUp = (control: number, name: string): void => setFlags(control, name, FLAG_UP);

/** A socket for settings of the network. */
const withControl = <T>(work: (control: number) => T): T => {
  const control = socket(AF_INET, SOCK_DGRAM, 0);
  try {
    return work(control);
  } finally {
    closeSync(control);
  }
};

/** Sets one adapter up that is there already under the name `found`. Throws with its name. */
export const setUpInterface = (found: string, configuration: InterfaceConfiguration): void =>
  withControl((control) => {
    try {
      configureInterface(control, found, configuration);
    } catch (error) {
      if (error instanceof SystemError) throw new Error(`network interface ${configuration.name}: ${error.message}`);
      throw error;
    }
  });

/** Takes the addresses off an interface and brings it down, which also takes its routes. */
export const takeDownInterface = (name: string): void =>
  withControl((control) => {
    ioctl(
      control,
      REQUEST.setAddress,
      interfaceRequest(name, (view) => putAddress(view, 0, "0.0.0.0")),
    );
    setFlags(control, name, 0);
  });

/** Takes the address off an interface that stays up. */
export const dropAddress = (name: string): void =>
  withControl((control) =>
    ioctl(
      control,
      REQUEST.setAddress,
      interfaceRequest(name, (view) => putAddress(view, 0, "0.0.0.0")),
    ),
  );

/** Adds routes over gateways; one that is there already, or whose gateway cannot be reached, is answered. */
export const addRoutes = (
  routes: readonly { destination: string; prefixLength: number; gateway: string }[],
): { destination: string; reason: string }[] =>
  withControl((control) =>
    routes.flatMap(({ destination, prefixLength, gateway }) => {
      try {
        ioctl(control, REQUEST.addRoute, routeEntry(destination, netmask(prefixLength), gateway));
        return [];
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        return error.errno === ERRNO.EEXIST ? [] : [{ destination, reason: error.message }];
      }
    }),
  );

/** Another default route in place of the present one; either may be missing. */
export const replaceDefaultRoute = (present: string | undefined, wanted: string | undefined): void =>
  withControl((control) => {
    if (present !== undefined)
      try {
        ioctl(control, REQUEST.deleteRoute, defaultRoute(present));
      } catch (error) {
        // It went with its interface, or the container's own process took it away.
        if (!(error instanceof SystemError)) throw error;
      }
    if (wanted !== undefined) ioctl(control, REQUEST.addRoute, defaultRoute(wanted));
  });

/** The number of an interface; undefined when it is gone. */
export const interfaceIndex = (name: string): number | undefined =>
  withControl((control) => {
    try {
      return indexOf(control, name);
    } catch (error) {
      if (error instanceof SystemError) return undefined;
      throw error;
    }
  });

/** Brings loopback and every configured interface up, with name, addresses and routes. Throws with the interface's name. */
export const configureNetwork = (interfaces: InterfaceConfiguration[]): void => {
  withControl((control) => setUp(control, "lo"));
  const found = interfaces.map((configuration) => {
    const name = waitForDevice(() => interfaceByMac(configuration.mac), INTERFACE_WAIT_LIMIT);
    if (name === undefined) throw new Error(`no network adapter with address ${configuration.mac}`);
    return { name, configuration };
  });
  const wanted = new Set(interfaces.map(({ name }) => name));
  // The kernel's order of adapters is not ours: names that are to be given must be free first.
  const misnamed = found.filter(({ name, configuration }) => name !== configuration.name && wanted.has(name));
  for (const [index, entry] of misnamed.entries()) {
    const aside = `adapter${index}`;
    withControl((control) => renameInterface(control, entry.name, aside));
    entry.name = aside;
  }
  for (const { name, configuration } of found) setUpInterface(name, configuration);
};

const renameInterface = (control: number, from: string, to: string): void => {
  const request = interfaceRequest(from);
  request.set(Buffer.from(to).subarray(0, 15), 16);
  ioctl(control, REQUEST.setName, request);
};

const configureInterface = (control: number, found: string, configuration: InterfaceConfiguration): void => {
  const { name, addresses, gateway, gateway6, mtu } = configuration;
  if (found !== name) renameInterface(control, found, name);
  if (mtu !== undefined)
    ioctl(
      control,
      REQUEST.setMtu,
      interfaceRequest(name, (view) => view.setUint32(0, mtu, true)),
    );
  const v4 = addresses.filter(({ address }) => !address.includes(":"));
  const v6 = addresses.filter(({ address }) => address.includes(":"));
  prepareIPv6(name, v6.length > 0);
  setUp(control, name);
  for (const [index, { address, prefixLength }] of v4.entries()) {
    const label = index === 0 ? name : `${name}:${index}`;
    ioctl(
      control,
      REQUEST.setAddress,
      interfaceRequest(label, (view) => putAddress(view, 0, address)),
    );
    ioctl(
      control,
      REQUEST.setNetmask,
      interfaceRequest(label, (view) => putAddress(view, 0, netmask(prefixLength))),
    );
  }
  if (gateway !== undefined) ioctl(control, REQUEST.addRoute, defaultRoute(gateway));
  if (v6.length > 0) addIPv6Addresses(indexOf(control, name), v6);
  if (gateway6 !== undefined) replaceIPv6DefaultRoute(undefined, { gateway: gateway6, index: indexOf(control, name) });
};

const indexOf = (control: number, name: string): number => {
  const request = interfaceRequest(name);
  ioctl(control, REQUEST.interfaceIndex, request);
  return new DataView(request.buffer).getInt32(16, true);
};

const defaultRoute = (gateway: string): Uint8Array => routeEntry("0.0.0.0", "0.0.0.0", gateway);

/** struct rtentry. */
const routeEntry = (destination: string, mask: string, gateway: string): Uint8Array => {
  const route = new Uint8Array(120);
  const view = new DataView(route.buffer);
  putAddress(view, 8, destination);
  putAddress(view, 24, gateway);
  putAddress(view, 40, mask);
  view.setUint16(56, ROUTE_UP_GATEWAY, true);
  return route;
};
