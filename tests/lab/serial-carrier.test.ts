/**
 * The serial carrier from end to end without a VM: a tether's line on a socket that is what QEMU gives the lab, the host's side of the
 * lab, the endpoint's concentrator, and the control link on top.
 */
import { afterEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProxiedPort } from "../../src/lab/hypervisor/serial/proxied-port.ts";
import { keepConnected } from "../../src/link/client.ts";
import { pemFingerprint } from "../../src/link/fingerprint.ts";
import { type Concentrator, type ConcentratorLimits, openConcentrator } from "../../src/link/serial/concentrator.ts";
import { LineCaller } from "../../src/link/serial/line-ends.ts";
import { LineSocket, lineSocketHandler } from "../../src/link/serial/line-socket.ts";
import { listenForTethers } from "../../src/link/server.ts";
import { answerCall, type Session } from "../../src/link/session.ts";
import { makeTestCertificate } from "../../src/link/test-certificate.ts";

const SERVICE = "vch:link";
const TOKEN = "cd".repeat(32);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const makeDirectory = async (): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), "vch-line-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
};

/** A guest's UART: what it writes goes to whoever has connected, and nowhere when nobody has. */
const makeUart = async (path: string, arrived: (bytes: Uint8Array) => void) => {
  let peer: Socket | undefined;
  const server = createServer((socket) => {
    peer = socket;
    socket.on("data", arrived);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (peer === socket) peer = undefined;
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => {
    peer?.destroy();
    server.close();
  });
  return {
    get isBusy(): boolean {
      return (peer?.writableLength ?? 0) > 0;
    },
    write: (bytes: Uint8Array): void => void peer?.write(bytes),
  };
};

/** Everything, with one VM that echoes what its channels get. */
const makeAll = async (limits: Partial<ConcentratorLimits> = {}) => {
  const directory = await makeDirectory();
  const certificate = await makeTestCertificate();
  const sessions: Session[] = [];
  const first = Promise.withResolvers<Session>();
  const listener = await listenForTethers({
    host: "127.0.0.1",
    port: 0,
    ...certificate,
    authenticate: (token) => (token === TOKEN ? { id: "vm-1" } : undefined),
    onSession: (_id, session) => {
      sessions.push(session);
      first.resolve(session);
    },
  });
  const linkSocket = join(directory, "link.sock");
  listener.addSocket(linkSocket);
  cleanups.push(() => listener.close());
  const concentrate = (port: number): Concentrator =>
    openConcentrator({ host: "127.0.0.1", port, serviceUri: SERVICE, linkSocket, log: () => undefined, limits });
  let concentrator = concentrate(0);
  cleanups.push(() => concentrator.close());
  const { port } = concentrator;

  const uartPath = join(directory, "uart.sock");
  const caller: { line: LineCaller | undefined } = { line: undefined };
  const uart = await makeUart(uartPath, (bytes) => caller.line?.arrived(bytes));
  caller.line = new LineCaller(uart);
  const service = {
    proxyUri: `telnet://127.0.0.1:${port}`,
    serviceUri: SERVICE,
    direction: "client" as const,
    vm: { name: "web", uuid: "564d1234-abcd-4321-9876-0123456789ab" },
  };
  const openPort = (): Promise<ProxiedPort> => ProxiedPort.open(uartPath, service, true, () => undefined);
  let host = await openPort();
  cleanups.push(() => host.close());

  const guestSocket = join(directory, "guest.sock");
  const guestListener = Bun.listen<LineSocket>({
    unix: guestSocket,
    socket: {
      ...lineSocketHandler,
      open: (socket) => {
        const user = new LineSocket();
        socket.data = user;
        user.useSocket(socket);
        const gone = new AbortController();
        user.onClosed = () => gone.abort();
        caller.line?.call(user, gone.signal).then(
          (connection) => user.useConnection(connection),
          () => socket.end(),
        );
      },
    },
  });
  cleanups.push(() => guestListener.stop(true));
  let tetherSessions = 0;
  const client = keepConnected({
    endpoints: [`unix:${guestSocket}`],
    token: TOKEN,
    serverFingerprint: pemFingerprint(certificate.certificatePem),
    onSession: (session) => {
      tetherSessions++;
      session.onChannel(async (channel) => {
        if (channel.request.op === "state") return answerCall(channel, "here");
        for await (const message of channel) {
          if (message.kind === "data") await channel.send(1, message.bytes);
          if (message.kind === "end") break;
        }
        channel.close();
      });
    },
  });
  cleanups.push(() => client.close("test over"));
  return {
    session: first.promise,
    sessions,
    tetherSessions: () => tetherSessions,
    move: () => host.move(),
    /** The lab is started anew. */
    restartHost: async (away: number): Promise<void> => {
      host.close();
      await Bun.sleep(away);
      host = await openPort();
    },
    /** The concentrator alone: its connections are cut, and it knows no line any more. */
    restartConcentrator: async (away: number): Promise<void> => {
      concentrator.close();
      await Bun.sleep(away);
      concentrator = concentrate(port);
    },
  };
};

/** Sends `length` bytes through the guest and back, with `disturb` at each share of them. */
const echoed = async (session: Session, length: number, disturb: (() => Promise<void>)[]): Promise<void> => {
  const channel = session.open("layerApply", { mount: "m" });
  const hashes = [createHash("sha256"), createHash("sha256")] as const;
  const sending = (async () => {
    for (let sent = 0; sent < length; ) {
      const block = crypto.getRandomValues(new Uint8Array(Math.min(10_000, length - sent)));
      hashes[0].update(block);
      sent += block.length;
      await channel.send(0, block);
    }
    await channel.end(0);
  })();
  let received = 0;
  let next = 1;
  let disturbing: Promise<void> = Promise.resolve();
  for await (const message of channel) {
    if (message.kind !== "data") continue;
    hashes[1].update(message.bytes);
    received += message.bytes.length;
    if (received > (next * length) / (disturb.length + 1)) {
      const step = disturb[next - 1];
      next++;
      if (step !== undefined) disturbing = disturbing.then(step);
    }
  }
  await Promise.all([sending, disturbing]);
  expect(received).toBe(length);
  expect(hashes[1].digest("hex")).toBe(hashes[0].digest("hex"));
};

test("calls and streams over the serial line, and moves to another host under load", async () => {
  const all = await makeAll();
  const session = await all.session;
  expect(await session.call("state", {})).toBe("here" as never);
  await echoed(session, 1_500_000, [all.move, all.move]);
  expect(all.sessions.length).toBe(1);
}, 60_000);

test("host and concentrator started anew under load: one session, no byte lost, nobody hangs", async () => {
  const all = await makeAll();
  const session = await all.session;
  await echoed(session, 1_500_000, [
    () => all.restartHost(300),
    () => all.restartConcentrator(300),
    () => all.restartHost(0),
    () => all.restartConcentrator(0),
  ]);
  expect(all.sessions.length).toBe(1);
  expect(all.tetherSessions()).toBe(1);
  expect(await session.call("state", {})).toBe("here" as never);
}, 120_000);
