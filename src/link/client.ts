import type { Socket } from "bun";
import type { ByteTransport } from "./byte-transport.ts";
import { derFingerprint } from "./fingerprint.ts";
import { encodeHello, HelloReader, resumePoint } from "./hello.ts";
import { SESSION_LIMITS, Session, type SessionLimits } from "./session.ts";

export interface LinkClientOptions {
  /** `host:port`, `[v6]:port` or `unix:path`, tried in order. */
  endpoints: string[];
  /** Lower-case hex SHA-256 of the endpoint's certificate. Checked before a byte is sent. */
  serverFingerprint: string;
  token: string;
  /** A new session; one that only goes on over another connection is not told. */
  onSession(session: Session): void;
  /** Why an attempt failed, for the log. */
  onFailure?(message: string): void;
  limits?: SessionLimits;
}

export interface LinkClient {
  /** The session, if any; it may be between two connections. */
  readonly session: Session | undefined;
  /** Replaces where to dial. A connection with another endpoint is ended, and the new ones are dialled at once. */
  useEndpoints(endpoints: string[]): void;
  /** Ends the session and dials no more. */
  close(reason: string): void;
}

const UNIX = "unix:";
/** Milliseconds for TCP, TLS and hello together. */
const CONNECT_LIMIT = 15_000;
const FIRST_RETRY = 100;
const LONGEST_RETRY = 10_000;
/** Somebody may be waiting for a session to go on. */
const LONGEST_RESUME_RETRY = 2_000;
/** A session that lived this long (milliseconds) makes the next retry quick again. */
const STABLE_AFTER = 10_000;

/**
 * Keeps one session with the endpoint, dialling for ever. A connection that is lost is followed by another one that carries the
 * same session on, where the endpoint still has it. Never throws and never rejects.
 */
export const keepConnected = (options: LinkClientOptions): LinkClient => {
  let session: Session | undefined;
  let endpoints = options.endpoints;
  /** The endpoint of the session, or the one that is being dialled. */
  let present = "";
  let over = false;
  let wake: () => void = () => undefined;
  let hangUp: (reason: string) => void = () => undefined;

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
          if (session?.isOver) session = undefined;
          const attempt = dial(endpoint, options, session);
          hangUp = attempt.hangUp;
          const connection = await attempt.connected;
          const since = performance.now();
          if (connection.session !== session) {
            session?.abandon("the endpoint does not know the session any more");
            session = connection.session;
            if (!over) options.onSession(session);
          }
          if (over) session.close("the tether stops");
          const reason = await Promise.race([session.closed.then(({ reason }) => reason), connection.lost]);
          if (performance.now() - since >= STABLE_AFTER) retry = FIRST_RETRY;
          options.onFailure?.(`${endpoint}: ${session.isOver ? "session ended" : "connection lost"}: ${reason}`);
        } catch (error) {
          options.onFailure?.(`${endpoint}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
      if (over) return;
      if (round !== endpoints) {
        retry = FIRST_RETRY;
        continue;
      }
      if (session !== undefined && !session.isOver && retry > LONGEST_RESUME_RETRY) retry = LONGEST_RESUME_RETRY;
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
      hangUp("the endpoint is called on another network");
      wake();
    },
    close: (reason) => {
      over = true;
      // A session says goodbye over its connection; a dial that is under way is cut off.
      if (session?.carriedFor === undefined) hangUp(reason);
      session?.close(reason);
      wake();
    },
  };
};

const splitEndpoint = (endpoint: string): { hostname: string; port: number } | { unix: string } => {
  if (endpoint.startsWith(UNIX)) return { unix: endpoint.slice(UNIX.length) };
  const colon = endpoint.lastIndexOf(":");
  const hostname = endpoint.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const port = Number(endpoint.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65535) throw new Error("not host:port");
  return { hostname, port };
};

/**
 * An authority that signs nothing: its key was thrown away. Where one is named, those that Bun brings along are not read; reading
 * their 150 certificates took longer than the handshake.
 */
const NOBODY = `-----BEGIN CERTIFICATE-----
MIIBYzCCAQqgAwIBAgIBATAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZub2JvZHkw
HhcNMjYxMjAxMDg0MDQ5WhcNMjYxMjAyMDg0MDQ5WjARMQ8wDQYDVQQDDAZub2Jv
ZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASLbwaCqq4f8aFuNzAikVih7uWf
wi3Cwho/dvS74PqXujejAEKVaXbsy+tYkn8xHUdH3axMzOR+BWhK/NWh2wuNo1Mw
UTAdBgNVHQ4EFgQUoXkRY8p82Gq+1ZBonLpctGr6xHowHwYDVR0jBBgwFoAUoXkR
Y8p82Gq+1ZBonLpctGr6xHowDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNH
ADBEAiAHBVe1oOXiGgfV9vt3AhhVkUVJ5O+PXEuQzGXpeIL0agIgSxtpnnMlrf2G
gk+aTJKGQ3JEf6yap0U3AGP7tG6LyLs=
-----END CERTIFICATE-----`;

interface LinkConnection {
  /** The session it was dialled for, or a new one. */
  session: Session;
  /** Resolves with the reason when the connection is over. */
  lost: Promise<string>;
}

/** One connection up to the accepted hello. `previous`: the session to go on with, if the endpoint has it still. */
const dial = (
  endpoint: string,
  options: LinkClientOptions,
  previous: Session | undefined,
): { connected: Promise<LinkConnection>; hangUp: (reason: string) => void } => {
  const { promise, resolve, reject } = Promise.withResolvers<LinkConnection>();
  const lost = Promise.withResolvers<string>();
  let socket: Socket | undefined;
  let session: Session | undefined;
  let trusted = false;
  let over = false;
  const hello = new HelloReader();

  const fail = (reason: string): void => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    reject(new Error(reason));
    lost.resolve(reason);
    session?.ended(reason);
    socket?.terminate();
  };
  const timer = setTimeout(() => {
    if (session === undefined) fail("no answer in time");
  }, CONNECT_LIMIT);

  const sessionFor = (answer: Record<string, unknown>, transport: ByteTransport): Session => {
    const point = resumePoint(answer);
    if (previous === undefined || previous.isOver || point === undefined || point.session !== previous.id)
      return new Session(transport, "tether", options.limits ?? SESSION_LIMITS, point?.session);
    try {
      previous.resume(transport, point.received);
    } catch (error) {
      previous.close(error instanceof Error ? error.message : String(error));
      throw error;
    }
    return previous;
  };

  const received = (socket: Socket, bytes: Uint8Array): void => {
    if (over) return;
    if (session !== undefined) {
      session.received(bytes);
      return;
    }
    if (!trusted) return;
    const answer = hello.push(bytes);
    if (answer === undefined) return;
    if (answer.hello.error !== undefined) throw new Error(`refused by the endpoint: ${answer.hello.error}`);
    clearTimeout(timer);
    const begun = sessionFor(answer.hello, {
      write: (bytes) => Math.max(0, socket.write(bytes)),
      end: () => {
        // The session is over, or has given this connection up: a dead peer would keep it open for long.
        over = true;
        lost.resolve("given up");
        socket.end();
      },
    });
    session = begun;
    resolve({ session: begun, lost: lost.promise });
    if (answer.rest.length > 0) session.received(answer.rest);
  };

  const start = async (): Promise<void> => {
    const connect = {
      // The certificate is checked by its fingerprint below; names and authorities mean nothing here.
      tls: { rejectUnauthorized: false, ca: NOBODY },
      socket: {
        binaryType: "uint8array" as const,
        open: (opened) => {
          socket = opened;
          if (over) opened.terminate();
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
            const { id, isOver = true, receivedFrames = 0 } = previous ?? {};
            const point = id === undefined || isOver ? undefined : { session: id, received: receivedFrames };
            socket.write(encodeHello(options.token, point));
          }
        },
        data: (socket, bytes) => {
          try {
            received(socket, bytes);
          } catch (error) {
            fail(error instanceof Error ? error.message : String(error));
          }
        },
        drain: () => {
          if (!over) session?.drained();
        },
        end: () => fail("closed by the endpoint"),
        close: () => fail("connection closed"),
        error: (_socket, error) => fail(error.message),
      },
    } satisfies Omit<Bun.TCPSocketConnectOptions, "hostname" | "port">;
    const target = splitEndpoint(endpoint);
    await ("unix" in target ? Bun.connect({ ...connect, ...target }) : Bun.connect({ ...connect, ...target }));
  };
  start().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
  return { connected: promise, hangUp: fail };
};
