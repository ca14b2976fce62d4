/**
 * Host ports that are taken. A published port is held by a listening socket that never sees traffic (the nftables rules
 * divert it before): so the kernel refuses the port to every other program, and refuses ours when another has it.
 */
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import net from "node:net";
import { NetworkError, type TransportProtocol } from "./contract.ts";

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
  return hostAddress === "0.0.0.0" || addresses.has("0.0.0.0") || addresses.has(hostAddress);
}

function listen(hostAddress: string, protocol: TransportProtocol, port: number): Promise<() => void> {
  if (protocol === "sctp") return Promise.resolve(() => undefined); // Bun has no SCTP sockets: our own table decides.
  return new Promise((resolve, reject) => {
    if (protocol === "tcp") {
      const server = net.createServer((socket) => socket.destroy());
      server.once("error", reject);
      server.listen({ host: hostAddress, port, exclusive: true }, () => {
        server.unref();
        resolve(() => server.close());
      });
      return;
    }
    const socket = dgram.createSocket({ type: "udp4", reuseAddr: false });
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: hostAddress, port, exclusive: true }, () => {
      socket.unref();
      resolve(() => socket.close());
    });
  });
}

/** Takes exactly this port. Throws NetworkError `port-in-use` or `invalid` with Docker's words (without the endpoint's name). */
export async function takeHostPort(hostAddress: string, protocol: TransportProtocol, port: number): Promise<HostPort> {
  if (isOurs(hostAddress, protocol, port)) {
    throw new NetworkError("port-in-use", `Bind for ${hostAddress}:${port} failed: port is already allocated`);
  }
  const key = `${protocol}/${port}`;
  const addresses = held.get(key) ?? new Set<string>();
  held.set(key, addresses.add(hostAddress));
  const forget = (): void => {
    addresses.delete(hostAddress);
    if (addresses.size === 0 && held.get(key) === addresses) held.delete(key);
  };
  try {
    const stop = await listen(hostAddress, protocol, port);
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
  const where = `${hostAddress}:${port}/${protocol}`;
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

/** Takes the first free port of a range, or of the machine's ephemeral range. */
export async function takeFreeHostPort(
  hostAddress: string,
  protocol: TransportProtocol,
  range?: { first: number; last: number },
): Promise<HostPort> {
  const { first, last } = range ?? ephemeralRange();
  const size = last - first + 1;
  const attempts = range === undefined ? Math.min(size, EPHEMERAL_ATTEMPTS) : size;
  const start = range === undefined && lastEphemeral >= first && lastEphemeral < last ? lastEphemeral + 1 : first;
  let lastError: unknown;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = first + ((start - first + attempt) % size);
    try {
      const taken = await takeHostPort(hostAddress, protocol, port);
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
