/** The listening end of the control link: knows which VM a token belongs to and hands each new session to its owner. */
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import type { LinkSession } from "../../link/contract.ts";
import { pemFingerprint } from "../../link/fingerprint.ts";
import type { LinkConfiguration } from "../../link/guest-configuration.ts";
import { type Concentrator, openConcentrator } from "../../link/serial/concentrator.ts";
import { listenForTethers, type TetherListener } from "../../link/server.ts";
import type { SerialPortSpec } from "../../vsphere/contract.ts";

/** What hosts ask the concentrator for. Kept in the hardware of VMs: never to be changed. */
const SERVICE_URI = "vch-control-link";

/** A VM whose tether may call. */
export interface GuestOwner {
  /** The container's or loader's id. */
  readonly id: string;
  connected(session: LinkSession): void;
}

/**
 * Which new containers are called over a serial port: those whose networks cannot carry the link, all, or none (then it serves those
 * that were made before).
 */
export type SerialUse = "needed" | "always" | "never";

export interface SerialLinks {
  readonly use: SerialUse;
  /** The second serial port of a VM that is called so. */
  readonly device: SerialPortSpec;
}

export interface SerialLinkOptions {
  /** Address and port that the concentrator listens on, and that hosts dial. */
  host: string;
  port: number;
  use: SerialUse;
  /** Unix socket between concentrator and control link. */
  socket: string;
}

export interface GuestLinks {
  /** What tethers need to find and trust this endpoint. */
  readonly configuration: Omit<LinkConfiguration, "token">;
  readonly port: number;
  /** Set when VMs can be called over a serial port. */
  readonly serial: SerialLinks | undefined;
  /** Listen on one more address of this machine, on the same port: the gateway of another network. */
  serve(host: string): Promise<{ close(): void }>;
  /** Accept this token until the returned function is called. */
  expect(token: string, owner: GuestOwner): () => void;
  close(): Promise<void>;
}

export interface GuestLinkOptions {
  /** Address and port to listen on; port 0 for any. */
  host: string;
  port: number;
  /** `host` that guests dial; the listening host when left out. */
  guestHost?: string;
  certificatePem: string;
  keyPem: string;
  /** Left out: no serial carrier. */
  serial?: SerialLinkOptions;
  log?(message: string): void;
}

const digest = (token: string): string => createHash("sha256").update(token).digest("hex");

export async function openGuestLinks(options: GuestLinkOptions): Promise<GuestLinks> {
  // Looked up by hash, so that the time of a look-up says nothing about the token.
  const owners = new Map<string, GuestOwner>();
  const byId = new Map<string, GuestOwner>();
  const listener = await listenForTethers({
    host: options.host,
    port: options.port,
    certificatePem: options.certificatePem,
    keyPem: options.keyPem,
    authenticate: (token) => owners.get(digest(token)),
    onSession: (id, session) => byId.get(id)?.connected(session),
  });
  const concentrator = options.serial && (await openSerial(options.serial, listener, options.log));
  return {
    serial: options.serial && {
      use: options.serial.use,
      device: {
        kind: "network",
        serviceUri: SERVICE_URI,
        proxyUri: `telnet://${bracketed(options.serial.host)}:${options.serial.port}`,
        direction: "client",
        connected: true,
      },
    },
    configuration: {
      carrier: "net",
      endpoints: [`${options.guestHost ?? options.host}:${listener.port}`],
      serverFingerprint: pemFingerprint(options.certificatePem),
    },
    port: listener.port,
    serve: (host) => listener.addListener({ host, port: listener.port }),
    expect: (token, owner) => {
      const key = digest(token);
      owners.set(key, owner);
      byId.set(owner.id, owner);
      return () => {
        owners.delete(key);
        if (byId.get(owner.id) === owner) byId.delete(owner.id);
      };
    },
    close: async () => {
      concentrator?.close();
      await listener.close();
    },
  };
}

const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host);

async function openSerial(
  { host, port, socket }: SerialLinkOptions,
  listener: TetherListener,
  log: (message: string) => void = () => undefined,
): Promise<Concentrator> {
  try {
    // A socket that an endpoint left behind.
    await rm(socket, { force: true });
    listener.addSocket(socket);
    return openConcentrator({ host, port, serviceUri: SERVICE_URI, linkSocket: socket, log });
  } catch (error) {
    await listener.close();
    throw new Error(
      `cannot listen for serial ports on ${host}:${port}: ${error instanceof Error ? error.message : error}. Name another address with vch up --serial-address`,
    );
  }
}
