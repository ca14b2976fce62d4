import type { Socket } from "bun";
import { derFingerprint } from "./fingerprint.ts";
import { encodeHello, HelloReader } from "./hello.ts";
import { SESSION_LIMITS, Session, type SessionLimits } from "./session.ts";

export interface LinkClientOptions {
  /** `host:port` or `[v6]:port`, tried in order. */
  endpoints: string[];
  /** Lower-case hex SHA-256 of the endpoint's certificate. Checked before a byte is sent. */
  serverFingerprint: string;
  token: string;
  onSession(session: Session): void;
  /** Why an attempt failed, for the log. */
  onFailure?(message: string): void;
  limits?: SessionLimits;
}

export interface LinkClient {
  /** The live session, if any. */
  readonly session: Session | undefined;
  /** Replaces where to dial. A session with another endpoint is ended, and the new ones are dialled at once. */
  useEndpoints(endpoints: string[]): void;
  /** Ends the session and dials no more. */
  close(reason: string): void;
}

/** Milliseconds for TCP, TLS and hello together. */
const CONNECT_LIMIT = 15_000;
const FIRST_RETRY = 100;
const LONGEST_RETRY = 10_000;
/** A session that lived this long (milliseconds) makes the next retry quick again. */
const STABLE_AFTER = 10_000;

/** Keeps one session with the endpoint, dialling for ever. Never throws and never rejects. */
export const keepConnected = (options: LinkClientOptions): LinkClient => {
  let session: Session | undefined;
  let endpoints = options.endpoints;
  /** The endpoint of the session, or the one that is being dialled. */
  let present = "";
  let over = false;
  let wake: () => void = () => undefined;
  let cancelDial: () => void = () => undefined;

  const pause = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  const run = async (): Promise<void> => {
    let retry = FIRST_RETRY;
    while (!over) {
      const round = endpoints;
      for (const endpoint of round) {
        if (over) return;
        if (round !== endpoints) break;
        present = endpoint;
        try {
          const attempt = dial(endpoint, options);
          cancelDial = attempt.cancel;
          session = await attempt.session;
          const since = performance.now();
          if (over) session.close("the tether stops");
          else options.onSession(session);
          const { reason } = await session.closed;
          session = undefined;
          if (performance.now() - since >= STABLE_AFTER) retry = FIRST_RETRY;
          options.onFailure?.(`${endpoint}: session ended: ${reason}`);
        } catch (error) {
          options.onFailure?.(`${endpoint}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
      if (over) return;
      if (round !== endpoints) {
        retry = FIRST_RETRY;
        continue;
      }
      // Half fixed, half random: many VMs that lost one endpoint must not come back in step.
      await pause(retry / 2 + (Math.random() * retry) / 2);
      retry = Math.min(retry * 2, LONGEST_RETRY);
    }
  };
  void run();

  return {
    get session() {
      return session;
    },
    useEndpoints: (changed) => {
      endpoints = changed;
      if (changed.includes(present)) return;
      cancelDial();
      session?.close("the endpoint is called on another network");
      wake();
    },
    close: (reason) => {
      over = true;
      cancelDial();
      session?.close(reason);
      wake();
    },
  };
};

const splitEndpoint = (endpoint: string): { hostname: string; port: number } => {
  const colon = endpoint.lastIndexOf(":");
  const hostname = endpoint.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const port = Number(endpoint.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65535) throw new Error("not host:port");
  return { hostname, port };
};

/** One connection up to the accepted hello. */
const dial = (endpoint: string, options: LinkClientOptions): { session: Promise<Session>; cancel: () => void } => {
  const { promise, resolve, reject } = Promise.withResolvers<Session>();
  let socket: Socket | undefined;
  let session: Session | undefined;
  let trusted = false;
  const hello = new HelloReader();

  const fail = (reason: string): void => {
    clearTimeout(timer);
    reject(new Error(reason));
    session?.ended(reason);
    socket?.terminate();
  };
  const timer = setTimeout(() => {
    if (session === undefined) fail("no answer in time");
  }, CONNECT_LIMIT);

  const received = (socket: Socket, bytes: Uint8Array): void => {
    if (session !== undefined) {
      session.received(bytes);
      return;
    }
    if (!trusted) return;
    const answer = hello.push(bytes);
    if (answer === undefined) return;
    if (answer.hello.error !== undefined) throw new Error(`refused by the endpoint: ${answer.hello.error}`);
    clearTimeout(timer);
    session = new Session(
      { write: (bytes) => Math.max(0, socket.write(bytes)), end: () => void socket.end() },
      "tether",
      options.limits ?? SESSION_LIMITS,
    );
    resolve(session);
    // After the handlers of the new session have been set by those who wait for it.
    if (answer.rest.length > 0) session.received(answer.rest);
  };

  const start = async (): Promise<void> => {
    await Bun.connect({
      ...splitEndpoint(endpoint),
      // The certificate is checked by its fingerprint below; names and authorities mean nothing here.
      tls: { rejectUnauthorized: false },
      socket: {
        binaryType: "uint8array",
        open: (opened) => {
          socket = opened;
        },
        handshake: (socket, _authorized, error) => {
          // Undefined when the handshake failed, whatever the type says.
          const certificate = socket.getPeerCertificate() as { raw?: Uint8Array } | undefined;
          const der = certificate?.raw;
          if (der === undefined) {
            fail(`TLS handshake failed: ${error?.message ?? "no certificate"}`);
          } else if (derFingerprint(der) !== options.serverFingerprint) {
            fail("the endpoint's certificate is not the one this VM was given; nothing was sent");
          } else {
            trusted = true;
            socket.write(encodeHello(options.token));
          }
        },
        data: (socket, bytes) => {
          try {
            received(socket, bytes);
          } catch (error) {
            fail(error instanceof Error ? error.message : String(error));
          }
        },
        drain: () => session?.drained(),
        end: () => fail("closed by the endpoint"),
        close: () => fail("connection closed"),
        error: (_socket, error) => fail(error.message),
      },
    });
  };
  start().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
  return { session: promise, cancel: () => fail("cancelled") };
};
