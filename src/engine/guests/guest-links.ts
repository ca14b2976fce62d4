/** The listening end of the control link: knows which VM a token belongs to and hands each new session to its owner. */
import { createHash } from "node:crypto";
import type { LinkSession } from "../../link/contract.ts";
import { pemFingerprint } from "../../link/fingerprint.ts";
import type { LinkConfiguration } from "../../link/guest-configuration.ts";
import { listenForTethers } from "../../link/server.ts";

/** A VM whose tether may call. */
export interface GuestOwner {
  /** The container's or loader's id. */
  readonly id: string;
  connected(session: LinkSession): void;
}

export interface GuestLinks {
  /** What tethers need to find and trust this endpoint. */
  readonly configuration: Omit<LinkConfiguration, "token">;
  readonly port: number;
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
  return {
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
    close: () => listener.close(),
  };
}
