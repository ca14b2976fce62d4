import { afterEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ALL_SUBOPTIONS,
  encodeSuboption,
  encodeTelnetData,
  encodeTelnetOption,
  hostUuid,
  parseProxyRequest,
  SUBOPTION,
  suboptionUuid,
  TELNET_OPTION,
  TelnetDecoder,
} from "../../../format/telnet/index.ts";
import { ProxiedPort } from "./proxied-port.ts";
import { proxyAddress } from "./proxy-connection.ts";

const VM = { name: "web", uuid: "564d1234-abcd-4321-9876-0123456789ab" };
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const listen = async (server: Server, at: string | number): Promise<number> => {
  await new Promise<void>((resolve) => {
    if (typeof at === "string") server.listen(at, resolve);
    else server.listen(at, "127.0.0.1", resolve);
  });
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : 0;
};

/** QEMU's end of the port: what the guest writes and reads. */
const makeGuest = async () => {
  const directory = await mkdtemp(join(tmpdir(), "vch-port-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, "s.sock");
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const server = createServer(resolve);
  cleanups.push(() => server.close());
  await listen(server, path);
  return { path, socket: promise };
};

interface Conversation {
  socket: Socket;
  said: { suboption: number; payload: Uint8Array }[];
  text(): string;
  /** Resolves when the condition holds; looked at whenever something has come. */
  until(condition: () => boolean): Promise<void>;
}

/** A concentrator that does what it is told in `answer`. */
const makeProxy = async (answer: (suboption: number, payload: Uint8Array, socket: Socket) => void) => {
  const conversations: Conversation[] = [];
  const arrived: (() => void)[] = [];
  const server = createServer((socket) => {
    let text = "";
    const waiting: (() => void)[] = [];
    const conversation: Conversation = {
      socket,
      said: [],
      text: () => text,
      until: async (condition) => {
        while (!condition()) await new Promise<void>((resolve) => waiting.push(resolve));
      },
    };
    const decoder = new TelnetDecoder();
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      decoder.push(bytes, (event) => {
        if (event.kind === "data") text += Buffer.from(event.bytes).toString("latin1");
        if (event.kind === "subnegotiation") {
          const [suboption = -1, ...payload] = event.bytes;
          conversation.said.push({ suboption, payload: Uint8Array.from(payload) });
          answer(suboption, Uint8Array.from(payload), socket);
        }
      });
      for (const wake of waiting.splice(0)) wake();
    });
    socket.write(encodeTelnetOption("do", TELNET_OPTION.vmwareExtension));
    conversations.push(conversation);
    for (const wake of arrived.splice(0)) wake();
  });
  cleanups.push(() => {
    for (const { socket } of conversations) socket.destroy();
    server.close();
  });
  const port = await listen(server, 0);
  return {
    uri: `telnet://127.0.0.1:${port}`,
    conversation: async (index: number): Promise<Conversation> => {
      for (;;) {
        const found = conversations[index];
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => arrived.push(resolve));
      }
    },
  };
};

/** What a concentrator that agrees says. */
const agreeing = (suboption: number, payload: Uint8Array, socket: Socket): void => {
  const say = (...[what, content]: Parameters<typeof encodeSuboption>): boolean =>
    socket.write(encodeSuboption(what, content));
  if (suboption === SUBOPTION.knownByVm) {
    say(SUBOPTION.knownByProxy, Uint8Array.from(ALL_SUBOPTIONS));
    say(SUBOPTION.getVmVcUuid);
    say(SUBOPTION.getVmName);
  }
  if (suboption === SUBOPTION.doProxy) say(SUBOPTION.willProxy);
  if (suboption === SUBOPTION.vmotionBegin) say(SUBOPTION.vmotionGoAhead, Uint8Array.of(...payload, 7, 7, 7));
  if (suboption === SUBOPTION.vmotionPeer) say(SUBOPTION.vmotionPeerOk, payload);
};

const open = async (proxyUri: string, path: string, connected = true, log: string[] = []): Promise<ProxiedPort> => {
  const service = { proxyUri, serviceUri: "vch:link", direction: "client" as const, vm: VM };
  const port = await ProxiedPort.open(path, service, connected, (message) => log.push(message));
  cleanups.push(() => port.close());
  return port;
};

const wasAccepted = ({ said }: Conversation) => said.some(({ suboption }) => suboption === SUBOPTION.vmName);

const read = (socket: Socket, length: number): Promise<Buffer> =>
  new Promise((resolve) => {
    let got = Buffer.alloc(0);
    socket.on("data", (bytes: Buffer) => {
      got = Buffer.concat([got, bytes]);
      if (got.length >= length) resolve(got);
    });
  });

/** Writes until the proxy has seen it: what is written before it has accepted is lost, as documented. */
const writeUntilSeen = async (guest: Socket, conversation: Conversation, text: string): Promise<void> => {
  const timer = setInterval(() => guest.write(text, "latin1"), 5);
  await conversation.until(() => conversation.text().includes(text));
  clearInterval(timer);
};

test("tells its VM and its service, and carries bytes both ways, 0xff included", async () => {
  const guest = await makeGuest();
  const proxy = await makeProxy(agreeing);
  await open(proxy.uri, guest.path);
  const conversation = await proxy.conversation(0);
  await conversation.until(() => wasAccepted(conversation));
  const payloadOf = (suboption: number): Uint8Array =>
    conversation.said.find((item) => item.suboption === suboption)?.payload ?? new Uint8Array(0);
  expect(suboptionUuid(payloadOf(SUBOPTION.vmVcUuid))).toBe(VM.uuid);
  expect(Buffer.from(payloadOf(SUBOPTION.vmVcUuid)).toString()).toBe(hostUuid(VM.uuid));
  expect(Buffer.from(payloadOf(SUBOPTION.vmName)).toString()).toBe("web");
  expect(parseProxyRequest(payloadOf(SUBOPTION.doProxy))).toEqual({ direction: "client", uri: "vch:link" });
  const socket = await guest.socket;
  const reading = read(socket, 3);
  await writeUntilSeen(socket, conversation, "a\u00ffb");
  conversation.socket.write(encodeTelnetData(Uint8Array.of(0, 255, 13)));
  expect([...(await reading)]).toEqual([0, 255, 13]);
});

test("dials again when the connection is cut, when the proxy comes later, and not when it is unplugged", async () => {
  const guest = await makeGuest();
  const proxy = await makeProxy(agreeing);
  const log: string[] = [];
  const port = await open("telnet://127.0.0.1:1", guest.path, true, log);
  port.use({ proxyUri: proxy.uri, serviceUri: "vch:link", direction: "client", vm: VM }, true);
  const first = await proxy.conversation(0);
  await first.until(() => wasAccepted(first));
  first.socket.destroy();
  const second = await proxy.conversation(1);
  await writeUntilSeen(await guest.socket, second, "again");
  const closed = new Promise<void>((resolve) => second.socket.once("close", resolve));
  port.use({ proxyUri: proxy.uri, serviceUri: "vch:link", direction: "client", vm: VM }, false);
  await closed;
  expect(log.at(-1)).toContain("closed the connection");
});

test("a move hands the connection over: begin on the old, peer and complete on the new", async () => {
  const guest = await makeGuest();
  const proxy = await makeProxy(agreeing);
  const port = await open(proxy.uri, guest.path);
  const old = await proxy.conversation(0);
  const socket = await guest.socket;
  await writeUntilSeen(socket, old, "before");
  await port.move();
  const fresh = await proxy.conversation(1);
  await fresh.until(() => fresh.said.some(({ suboption }) => suboption === SUBOPTION.vmotionComplete));
  const begin = old.said.find(({ suboption }) => suboption === SUBOPTION.vmotionBegin);
  const peer = fresh.said.find(({ suboption }) => suboption === SUBOPTION.vmotionPeer);
  expect([...(peer?.payload ?? [])]).toEqual([...(begin?.payload ?? []), 7, 7, 7]);
  socket.write("after");
  await fresh.until(() => fresh.text().includes("after"));
  expect(old.text()).not.toContain("after");
});

test("a proxy that says not now keeps the connection that it has", async () => {
  const guest = await makeGuest();
  const proxy = await makeProxy((suboption, payload, socket) => {
    if (suboption === SUBOPTION.vmotionBegin) socket.write(encodeSuboption(SUBOPTION.vmotionNotNow, payload));
    else agreeing(suboption, payload, socket);
  });
  const log: string[] = [];
  const port = await open(proxy.uri, guest.path, true, log);
  const old = await proxy.conversation(0);
  const socket = await guest.socket;
  await writeUntilSeen(socket, old, "before");
  await port.move();
  expect(log.at(-1)).toContain("not now");
  socket.write("after");
  await old.until(() => old.text().includes("after"));
});

test("proxy URIs", () => {
  expect(proxyAddress("telnet://[fd00::1]:2378")).toEqual({ host: "fd00::1", port: 2378 });
  for (const uri of ["telnets://host:1", "telnet://host", "telnet://host:99999", "tcp://host:1"])
    expect(() => proxyAddress(uri)).toThrow("is not supported");
});
