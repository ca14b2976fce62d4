import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { MessageSplitter } from "../../format/file-share/framing.ts";
import {
  decodeReply,
  decodeReplyHeader,
  encodeRequest,
  MESSAGE_LIMIT,
  OPEN,
  type OperationName,
  type RequestFields,
} from "../../format/file-share/messages.ts";
import type { Channel } from "../../link/contract.ts";
import { STREAM } from "../../link/operations.ts";
import { Session } from "../../link/session.ts";
import type { Container } from "../containers/container.ts";
import type { MountRecord } from "../containers/document.ts";
import type { EngineContext } from "../context.ts";
import { serveShareChannel } from "./file-server.ts";
import { serveSocketChannel } from "./socket.ts";

/** The engine's side of the two channels that a tether opens, with the real file server as a process. */

const MAIN = resolve(import.meta.dir, "../../../main.ts");
let folder = "";
let echo: Server;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "vch-relay-"));
  writeFileSync(join(folder, "f"), "content");
  // Answers when it has everything: works only where one direction can end before the other.
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    const parts: Buffer[] = [];
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.on("end", () => socket.end(Buffer.concat(parts)));
  });
  await new Promise<void>((listening) => echo.listen(join(folder, "docker.sock"), listening));
});
afterAll(() => {
  echo.close();
  rmSync(folder, { recursive: true });
});

const bind = (kind: "directory" | "socket", source: string): MountRecord => ({
  type: "bind",
  kind,
  source,
  destination: "/x",
  readOnly: false,
  createSource: true,
  nonRecursive: false,
  propagation: "rprivate",
  mode: "",
});

const logged: string[] = [];
const contextWith = (roots: string[]): EngineContext =>
  ({
    binds: { roots, dockerSocket: join(folder, "docker.sock"), fileServer: [process.execPath, MAIN, "file-server"] },
    log: (message: string) => logged.push(message),
  }) as unknown as EngineContext;

/** A tether's end of a link to a container with these mounts. */
const tetherOf = (context: EngineContext, mounts: MountRecord[]): Session => {
  const container = { name: "c", document: { mounts } } as unknown as Container;
  const make = (role: "engine" | "tether", peer: () => Session): Session =>
    new Session(
      {
        write: (bytes) => {
          const copy = bytes.slice();
          setImmediate(() => peer().received(copy));
          return bytes.length;
        },
        end: () => setImmediate(() => peer().ended("closed")),
      },
      role,
    );
  const engine: Session = make("engine", () => tether);
  const tether: Session = make("tether", () => engine);
  engine.onChannel((channel) => {
    if (channel.request.op === "share") void serveShareChannel(context, container, channel);
    else void serveSocketChannel(context, container, channel);
  });
  return tether;
};

/** Sends one request and answers errno and the raw reply. */
const ask = async <K extends OperationName>(channel: Channel, operation: K, fields: RequestFields<K>) => {
  await channel.send(STREAM.stdout, encodeRequest(9, operation, 0, fields));
  const splitter = new MessageSplitter(MESSAGE_LIMIT);
  const iterator = channel[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await iterator.next();
    if (done) throw new Error("the channel ended");
    if (value.kind !== "data") continue;
    for (const reply of splitter.push(value.bytes)) return { ...decodeReplyHeader(reply), reply };
  }
};
const path = Buffer.from("f");

test("a share channel reaches the file server, and a second one replaces the first", async () => {
  const tether = tetherOf(contextWith([folder]), [bind("directory", folder)]);
  const first = tether.open("share", {});
  const opened = await ask(first, "open", { path, flags: OPEN.read });
  expect(opened.errno).toBe(0);
  const { handle } = decodeReply("open", opened.reply);
  const second = tether.open("share", {});
  await first.closed;
  // It has no open files of the first one's.
  expect((await ask(second, "read", { handle, offset: 0, size: 10 })).errno).toBe(9);
  second.close();
});

test("a path that is not allowed any more is refused, although the container has it", async () => {
  const tether = tetherOf(contextWith([]), [bind("directory", folder)]);
  const channel = tether.open("share", {});
  expect((await ask(channel, "stat", { path })).errno).toBe(13);
  expect(logged.join()).toContain("shares no directory");
  channel.close();
});

test("a guest that breaks the protocol loses its file server and nothing else", async () => {
  const tether = tetherOf(contextWith([folder]), [bind("directory", folder)]);
  const channel = tether.open("share", {});
  await channel.send(STREAM.stdout, Buffer.alloc(64, 0xff));
  const failure = (async () => {
    for await (const _ of channel);
  })();
  expect(failure).rejects.toThrow("the file server ended");
  await failure.catch(() => undefined);
  const again = tether.open("share", {});
  expect((await ask(again, "stat", { path })).errno).toBe(0);
  again.close();
});

test("a container without bind mounts is served none", async () => {
  const channel = tetherOf(contextWith([folder]), []).open("share", {});
  const all = Array.fromAsync(channel);
  expect(all).rejects.toThrow("no bind mounts");
  await all.catch(() => undefined);
});

test("a socket channel: both directions, each with an end of its own", async () => {
  const tether = tetherOf(contextWith([]), [bind("socket", "/var/run/docker.sock")]);
  const channel = tether.open("socket", { index: 0 });
  const sent = Buffer.alloc(3_000_000, "0123456789");
  const received = (async () => {
    const parts: Uint8Array[] = [];
    for await (const message of channel) if (message.kind === "data") parts.push(message.bytes);
    return Buffer.concat(parts);
  })();
  await channel.send(STREAM.stdin, sent);
  await channel.end(STREAM.stdin);
  expect((await received).equals(sent)).toBe(true);
  const none = Array.fromAsync(tether.open("socket", { index: 1 }));
  expect(none).rejects.toThrow("no such socket");
  await none.catch(() => undefined);
});
