/**
 * Host ports that are taken. A published port is held by a listening socket that never sees traffic (the nftables rules
 * divert it before): so the kernel refuses the port to every other program, and refuses ours when another has it.
 * IPv6's loopback address is the exception: the kernel translates nothing from it, so its traffic is relayed.
 */
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import net from "node:net";
import { NetworkError, type TransportProtocol } from "./contract.ts";
import { connectionRelay, type RelayTarget, relayDatagrams } from "./loopback-relay.ts";
import { ALL_ADDRESSES } from "./ruleset.ts";

export interface HostPort {
  readonly hostAddress: string;
  readonly protocol: TransportProtocol;
  readonly port: number;
  release(): void;
}

/** Used when the kernel's range cannot be read. */
const DEFAULT_EPHEMERAL_RANGE = { first: 32768, last: 60999 };
/** A free port is looked for this often before giving up; the range has tens of thousands. */
const EPHEMERAL_ATTEMPTS = 2000;

/** Ports of this process by `protocol/port` → addresses; the sockets alone do not tell our containers from other programs. */
const held = new Map<string, Set<string>>();
let lastEphemeral = 0;

function ephemeralRange(): { first: number; last: number } {
  try {
    const [first = Number.NaN, last = Number.NaN] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8")
      .trim()
      .split(/\s+/)
      .map(Number);
    return first > 0 && last >= first && last <= 65535 ? { first, last } : DEFAULT_EPHEMERAL_RANGE;
  } catch {
    return DEFAULT_EPHEMERAL_RANGE;
  }
}

/** True when one of our containers has the port on an address that overlaps. */
function isOurs(hostAddress: string, protocol: TransportProtocol, port: number): boolean {
  const addresses = held.get(`${protocol}/${port}`);
  if (addresses === undefined || addresses.size === 0) return false;
  const family = familyOf(hostAddress);
  const sameFamily = [...addresses].filter((address) => familyOf(address) === family);
  const all = ALL_ADDRESSES[family];
  return sameFamily.some((address) => address === all || hostAddress === all || address === hostAddress);
}

const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);

/** How Docker writes an address with its port. */
const withPort = (address: string, port: number): string =>
  familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

function listen(
  hostAddress: string,
  protocol: TransportProtocol,
  port: number,
  target: RelayTarget | undefined,
): Promise<() => void> {
  if (protocol === "sctp") return Promise.resolve(() => undefined); // Bun has no SCTP sockets: our own table decides.
  const ipv6Only = familyOf(hostAddress) === 6;
  return new Promise((resolve, reject) => {
    if (protocol === "tcp") {
      const take = ipv6Only && target ? connectionRelay(target) : (socket: net.Socket) => socket.destroy();
      const server = net.createServer({ allowHalfOpen: true }, take);
      server.once("error", reject);
      server.listen({ host: hostAddress, port, exclusive: true, ipv6Only }, () => {
        server.unref();
        resolve(() => server.close());
      });
      return;
    }
    const socket = dgram.createSocket({ type: ipv6Only ? "udp6" : "udp4", reuseAddr: false, ipv6Only });
    const failed = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once("error", failed);
    socket.bind({ address: hostAddress, port, exclusive: true }, () => {
      socket.removeListener("error", failed);
      socket.unref();
      const stop = ipv6Only && target ? relayDatagrams(socket, target) : undefined;
      resolve(() => {
        stop?.();
        socket.close();
      });
    });
  });
}

/**
 * Takes exactly this port. `target` is where what comes over IPv6's loopback address goes. Throws NetworkError `port-in-use`
 * or `invalid` with Docker's words (without the endpoint's name).
 */
export async function takeHostPort(
  hostAddress: string,
  protocol: TransportProtocol,
  port: number,
  target?: RelayTarget,
): Promise<HostPort> {
  if (isOurs(hostAddress, protocol, port)) {
    throw new NetworkError("port-in-use", `Bind for ${withPort(hostAddress, port)} failed: port is already allocated`);
  }
  const key = `${protocol}/${port}`;
  const addresses = held.get(key) ?? new Set<string>();
  held.set(key, addresses.add(hostAddress));
  const forget = (): void => {
    addresses.delete(hostAddress);
    if (addresses.size === 0 && held.get(key) === addresses) held.delete(key);
  };
  try {
    const stop = await listen(hostAddress, protocol, port, target);
    let open = true;
    return {
      hostAddress,
      protocol,
      port,
      release() {
        if (!open) return;
        open = false;
        forget();
        stop();
      },
    };
  } catch (cause) {
    forget();
    throw bindError(hostAddress, protocol, port, cause);
  }
}

function bindError(hostAddress: string, protocol: TransportProtocol, port: number, cause: unknown): NetworkError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const where = `${withPort(hostAddress, port)}/${protocol}`;
  switch (code) {
    case "EADDRINUSE":
      return new NetworkError("port-in-use", `failed to bind host port ${where}: address already in use`, { cause });
    case "EADDRNOTAVAIL":
      return new NetworkError("invalid", `failed to bind host port ${where}: cannot assign requested address`, {
        cause,
      });
    case "EACCES":
      return new NetworkError("invalid", `failed to bind host port ${where}: permission denied`, { cause });
    default:
      return new NetworkError("system", `failed to bind host port ${where}: ${code || String(cause)}`, { cause });
  }
}

/** One port on several addresses, all or none: those of both families have the same number. */
export async function takeHostPorts(
  hostAddresses: readonly string[],
  protocol: TransportProtocol,
  port: number,
  targetOf: (hostAddress: string) => RelayTarget,
): Promise<HostPort[]> {
  const taken: HostPort[] = [];
  try {
    for (const address of hostAddresses) taken.push(await takeHostPort(address, protocol, port, targetOf(address)));
    return taken;
  } catch (error) {
    for (const one of taken) one.release();
    throw error;
  }
}

/** Takes the first port of a range, or of the machine's ephemeral range, that is free on all the addresses. */
export async function takeFreeHostPorts(
  hostAddresses: readonly string[],
  protocol: TransportProtocol,
  range: { first: number; last: number } | undefined,
  targetOf: (hostAddress: string) => RelayTarget,
): Promise<HostPort[]> {
  const { first, last } = range ?? ephemeralRange();
  const size = last - first + 1;
  const attempts = range === undefined ? Math.min(size, EPHEMERAL_ATTEMPTS) : size;
  const start = range === undefined && lastEphemeral >= first && lastEphemeral < last ? lastEphemeral + 1 : first;
  let lastError: unknown;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = first + ((start - first + attempt) % size);
    try {
      const taken = await takeHostPorts(hostAddresses, protocol, port, targetOf);
      if (range === undefined) lastEphemeral = port;
      return taken;
    } catch (error) {
      if (!(error instanceof NetworkError) || error.code !== "port-in-use") throw error;
      lastError = error;
    }
  }
  throw range === undefined || size > 1
    ? new NetworkError("port-in-use", "all ports are allocated", { cause: lastError })
    : lastError;
}
