/** Attaching over a WebSocket, with a client that is not ours. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { type ServerFixture, startServer } from "./server-fixture.ts";

let server: ServerFixture;
let tls: { ca: string; cert: string; key: string };

beforeAll(async () => {
  server = await startServer({ validated: false });
  const read = (name: string) => readFile(join(server.directory, name), "utf8");
  tls = { ca: await read("ca.pem"), cert: await read("cert.pem"), key: await read("key.pem") };
});
afterAll(() => server.close());

async function post(path: string, body: object = {}): Promise<{ Id?: string }> {
  const response = await fetch(`http://docker${path}`, {
    unix: server.socket,
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });
  expect(response.ok, await response.clone().text()).toBe(true);
  return response.status === 204 ? {} : ((await response.json()) as { Id: string });
}

const container = async (command: string[]): Promise<string> =>
  (await post("/containers/create", { Image: "busybox", Cmd: command, OpenStdin: true, AttachStdin: true })).Id ?? "";

function open(id: string, headers: Record<string, string> = {}) {
  const url = `wss://127.0.0.1:${server.port}/containers/${id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1`;
  const socket = new WebSocket(url, { tls, headers } as never);
  socket.binaryType = "arraybuffer";
  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<{ code: number; text: string }>();
  let text = "";
  let reached: { wanted: string; resolve: () => void } | undefined;
  socket.onopen = () => opened.resolve();
  socket.onmessage = ({ data }) => {
    text += Buffer.from(data as ArrayBuffer).toString();
    if (reached !== undefined && text.includes(reached.wanted)) reached.resolve();
  };
  socket.onclose = ({ code }) => {
    opened.reject(new Error(`closed with ${code}`));
    closed.resolve({ code, text });
  };
  opened.promise.catch(() => undefined);
  const until = (wanted: string): Promise<void> =>
    new Promise((resolve) => {
      reached = { wanted, resolve };
      if (text.includes(wanted)) resolve();
    });
  return { socket, opened: opened.promise, closed: closed.promise, until };
}

test("both streams come as plain bytes, stdin goes in, the end of the process closes", async () => {
  const id = await container(["sh", "-c", "echo to stderr >&2; read line; echo got $line"]);
  const { socket, opened, closed, until } = open(id);
  await opened;
  await post(`/containers/${id}/start`);
  await until("to stderr");
  socket.send("a word\n");
  expect(await closed).toEqual({ code: 1000, text: "to stderr\ngot a word\n" });
});

test("a client that closes leaves the process running", async () => {
  const id = await container(["cat"]);
  const first = open(id);
  await first.opened;
  await post(`/containers/${id}/start`);
  first.socket.send("one\n");
  await first.until("one\n");
  first.socket.close(1000);
  expect((await first.closed).code).toBe(1000);
  expect(server.engine.find(id).process.running).toBe(true);
  const second = open(id);
  await second.opened;
  second.socket.send("two\n");
  await second.until("two\n");
  await post(`/containers/${id}/kill`);
  await second.closed;
});

test("what is no handshake, an unknown container and another site's page are answered in HTTP", async () => {
  const id = await container(["cat"]);
  const answer = (path: string, headers: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port: server.port, ...tls, servername: "localhost" }, () => {
        socket.write(`GET ${path} HTTP/1.1\r\nHost: vch.example\r\n${headers}\r\n`);
      });
      let text = "";
      socket.on("data", (data: Buffer) => {
        text += data;
        if (text.includes('"message"')) socket.destroy();
      });
      socket.on("error", reject);
      socket.on("close", () => resolve(text));
    });
  const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  const path = `/containers/${id}/attach/ws?stream=1&stdout=1`;
  expect(await answer(path, "")).toMatch(/^HTTP\/1.1 400 [\s\S]*Upgrade: websocket/);
  expect(await answer(path, `${handshake}Sec-WebSocket-Key: short\r\n`)).toMatch(/^HTTP\/1.1 400 [\s\S]*16 bytes/);
  expect(await answer(path, `${handshake.replace("13", "8")}${key}`)).toMatch(/^HTTP\/1.1 400 [\s\S]*use 13/);
  expect(await answer(path, `${handshake}${key}Origin: https://evil.example\r\n`)).toMatch(
    /^HTTP\/1.1 403 [\s\S]*evil/,
  );
  expect(await answer("/containers/none/attach/ws", `${handshake}${key}`)).toMatch(/^HTTP\/1.1 404 [\s\S]*No such/);
});
