import { afterEach, describe, expect, test } from "bun:test";
import { createConnection, createServer, type Socket } from "node:net";
import { keepConnected, type LinkClient } from "./client.ts";
import { pemFingerprint } from "./fingerprint.ts";
import { listenForTethers, type TetherListener } from "./server.ts";
import { answerCall, type Session } from "./session.ts";
import { makeTestCertificate } from "./test-certificate.ts";

const TOKEN = "ab".repeat(32);
const certificate = await makeTestCertificate();
const serverFingerprint = pemFingerprint(certificate.certificatePem);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const listen = async (onSession: (id: string, session: Session) => void, port = 0): Promise<TetherListener> => {
  const listener = await listenForTethers({
    host: "127.0.0.1",
    port,
    ...certificate,
    authenticate: (token) => (token === TOKEN ? { id: "vm-1" } : undefined),
    onSession,
    limits: { handshake: 300, unauthenticatedPerPeer: 3 },
  });
  cleanups.push(() => listener.close());
  return listener;
};

const connect = (endpoints: string[], overrides: Partial<Parameters<typeof keepConnected>[0]> = {}): LinkClient => {
  const client = keepConnected({
    endpoints,
    serverFingerprint,
    token: TOKEN,
    onSession: () => undefined,
    ...overrides,
  });
  cleanups.push(() => client.close("test over"));
  return client;
};

const firstFailure = (port: number, overrides: Partial<Parameters<typeof keepConnected>[0]>): Promise<string> =>
  new Promise((resolve) => connect([`127.0.0.1:${port}`], { onFailure: resolve, ...overrides }));

const sockets: { opened: number } = { opened: 0 };
const rawTls = (port: number, onClose: () => void): Promise<{ write(text: string): void }> =>
  new Promise((resolve) => {
    void Bun.connect({
      hostname: "127.0.0.1",
      port,
      tls: { rejectUnauthorized: false },
      socket: {
        handshake: (socket) => {
          sockets.opened++;
          resolve({ write: (text) => void socket.write(text) });
        },
        data: () => undefined,
        close: onClose,
        error: onClose,
      },
    });
  });

/** Passes connections on until they are cut; what is under way then is lost. */
const proxyTo = (port: number): { port: number; cut(): void } => {
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = createConnection({ host: "127.0.0.1", port });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.on("error", () => undefined);
      one.on("close", () => {
        open.delete(one);
        other.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, "127.0.0.1");
  cleanups.push(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    cut: () => {
      for (const socket of open) socket.destroy();
    },
  };
};

describe("control link over TLS", () => {
  test("connections that are cut under load: one session, every byte once, nobody notices", async () => {
    const engine = Promise.withResolvers<Session>();
    const tether = Promise.withResolvers<Session>();
    let sessions = 0;
    const listener = await listen((_id, session) => {
      sessions++;
      engine.resolve(session);
    });
    const proxy = proxyTo(listener.port);
    connect([`127.0.0.1:${proxy.port}`], { onSession: tether.resolve });
    (await tether.promise).onChannel(async (channel) => {
      if (channel.request.op === "state") return answerCall(channel, "here");
      for await (const message of channel) {
        if (message.kind === "data") await channel.send(1, message.bytes);
        if (message.kind === "end") break;
      }
      channel.close();
    });
    const session = await engine.promise;
    const channel = session.open("layerApply", { mount: "m" });
    const hashes = [new Bun.CryptoHasher("sha256"), new Bun.CryptoHasher("sha256")] as const;
    const sending = (async () => {
      for (let i = 0; i < 300; i++) {
        const block = crypto.getRandomValues(new Uint8Array(20_000));
        hashes[0].update(block);
        await channel.send(0, block);
      }
      await channel.end(0);
    })();
    let received = 0;
    let cuts = 0;
    for await (const message of channel) {
      if (message.kind !== "data") continue;
      hashes[1].update(message.bytes);
      received += message.bytes.length;
      if (received > (cuts + 1) * 1_000_000) {
        cuts++;
        proxy.cut();
      }
    }
    await sending;
    expect(cuts).toBeGreaterThan(3);
    expect(hashes[1].digest("hex")).toBe(hashes[0].digest("hex"));
    expect(await session.call("state", {})).toBe("here" as never);
    expect(sessions).toBe(1);
  });

  test("an endpoint that was started anew gets a new session, and the old one fails what it held", async () => {
    const first = await listen(() => undefined);
    const proxy = proxyTo(first.port);
    const sessions: Session[] = [];
    const again = Promise.withResolvers<void>();
    const client = connect([`127.0.0.1:${proxy.port}`, `127.0.0.1:${first.port}`], {
      onSession: (session) => {
        sessions.push(session);
        if (sessions.length === 2) again.resolve();
      },
    });
    while (sessions.length === 0) await Bun.sleep(5);
    proxy.cut();
    await first.close();
    await listen(() => undefined, first.port);
    await again.promise;
    expect(sessions[0]?.isOver).toBe(true);
    expect(client.session).toBe(sessions[1]);
  });

  test("calls, and 20 MB both ways intact with a slow reader", async () => {
    const { promise, resolve } = Promise.withResolvers<Session>();
    const listener = await listen((id, session) => {
      expect(id).toBe("vm-1");
      resolve(session);
    });
    connect([`127.0.0.1:${listener.port}`], {
      onSession: (session) =>
        session.onChannel(async (channel) => {
          if (channel.request.op === "state") return answerCall(channel, "here");
          for await (const message of channel) {
            if (message.kind === "data") await channel.send(1, message.bytes);
            if (message.kind === "end") break;
          }
          channel.close();
        }),
    });
    const session = await promise;
    expect(await session.call("state", {})).toBe("here" as never);
    const channel = session.open("layerApply", { mount: "m" });
    const block = crypto.getRandomValues(new Uint8Array(50_000));
    const sent = new Bun.CryptoHasher("sha256");
    const got = new Bun.CryptoHasher("sha256");
    const sending = (async () => {
      for (let i = 0; i < 400; i++) {
        sent.update(block);
        await channel.send(0, block);
      }
      await channel.end(0);
    })();
    let count = 0;
    for await (const message of channel) {
      if (message.kind !== "data") continue;
      got.update(message.bytes);
      if (count++ % 100 === 0) await Bun.sleep(1);
    }
    await sending;
    expect(got.digest("hex")).toBe(sent.digest("hex"));
  });

  test("another certificate than the pinned one: nothing is sent, and the reason is told", async () => {
    let sessions = 0;
    const listener = await listen(() => sessions++);
    const reason = await firstFailure(listener.port, { serverFingerprint: "0".repeat(64) });
    expect(reason).toContain("nothing was sent");
    expect(sessions).toBe(0);
  });

  test("an unknown token is refused with the reason", async () => {
    const listener = await listen(() => undefined);
    expect(await firstFailure(listener.port, { token: "00".repeat(32) })).toContain("unknown token");
    expect(await firstFailure(listener.port, { token: "short" })).toContain("malformed token");
  });

  test("finds the endpoint behind a dead address, and again after the endpoint was away", async () => {
    const sessions: Session[] = [];
    let arrived = Promise.withResolvers<void>();
    const onSession = (_id: string, session: Session): void => {
      sessions.push(session);
      arrived.resolve();
    };
    const listener = await listen(onSession);
    const { port } = listener;
    connect(["127.0.0.1:1", `127.0.0.1:${port}`]);
    await arrived.promise;
    arrived = Promise.withResolvers<void>();
    await listener.close();
    await Bun.sleep(150);
    await listen(onSession, port);
    await arrived.promise;
    expect(sessions.length).toBe(2);
  });

  test("a newer session of the same VM replaces the older", async () => {
    const sessions: Session[] = [];
    const second = Promise.withResolvers<void>();
    const listener = await listen((_id, session) => {
      sessions.push(session);
      if (sessions.length === 2) second.resolve();
    });
    const endpoints = [`127.0.0.1:${listener.port}`];
    const older = connect(endpoints, { onFailure: () => older.close("replaced") });
    while (sessions.length === 0) await Bun.sleep(5);
    connect(endpoints);
    await second.promise;
    expect((await sessions[0]?.closed)?.reason).toContain("replaced by a newer session");
  });

  test("connections that say nothing, or nonsense, are closed; too many of them at once as well", async () => {
    const listener = await listen(() => undefined);
    const closed = [0, 1, 2].map(() => Promise.withResolvers<void>());
    for (const end of closed) await rawTls(listener.port, end.resolve);
    const tooMany = Promise.withResolvers<void>();
    void rawTls(listener.port, tooMany.resolve);
    await tooMany.promise;
    await Promise.all(closed.map((end) => end.promise));
    const nonsense = Promise.withResolvers<void>();
    (await rawTls(listener.port, nonsense.resolve)).write("GET / HTTP/1.1\r\n\r\n");
    await nonsense.promise;
  });
});
