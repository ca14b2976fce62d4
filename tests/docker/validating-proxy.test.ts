/** Which responses the proxy lets end early. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startValidatingProxy, type ValidatingProxy } from "./validating-proxy.ts";

const CUT_OFF = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[";

let directory: string;
let server: net.Server;
let proxy: ValidatingProxy | undefined;
let killedAt = 0;
/** What the endpoint does with a connection that has sent its request. */
let endpoint: (connection: net.Socket) => void;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "vch-proxy-"));
  killedAt = 0;
  server = net.createServer({ allowHalfOpen: true }, (connection) => {
    connection.on("error", () => connection.destroy());
    connection.once("data", () => endpoint(connection));
  });
  const path = join(directory, "endpoint");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  proxy = await startValidatingProxy({
    socket: join(directory, "proxy"),
    connect: () => net.connect({ path, allowHalfOpen: true }),
    killedAt: () => killedAt,
  });
});

afterEach(async () => {
  await proxy?.close();
  server.close();
  rmSync(directory, { recursive: true });
});

/** Asks for the list of containers; `onAnswer` sees the first bytes. Resolves when the connection is closed. */
function ask(onAnswer: (client: net.Socket) => void = () => undefined): Promise<void> {
  return new Promise((resolve) => {
    const client = net.connect(join(directory, "proxy"));
    client.on("error", () => client.destroy());
    client.once("data", () => onAnswer(client));
    client.on("close", () => resolve());
    client.write("GET /v1.48/containers/json HTTP/1.1\r\nHost: docker\r\n\r\n");
  });
}

test("a response that the endpoint cuts off is a problem", async () => {
  endpoint = (connection) => connection.end(CUT_OFF);
  await ask();
  expect(proxy?.problems).toEqual([expect.stringContaining("the connection ended inside of a message")]);
});

test("it is none when a test had announced that it kills the endpoint", async () => {
  endpoint = (connection) => {
    connection.write(CUT_OFF);
    killedAt = Date.now();
    connection.end();
  };
  await ask();
  expect(proxy?.problems).toEqual([]);
});

test("an announcement excuses no connection that was opened after it", async () => {
  endpoint = (connection) => connection.end(CUT_OFF);
  killedAt = Date.now() - 1000;
  await ask();
  expect(proxy?.problems).toHaveLength(1);
});

test("it is none when the client went away first", async () => {
  const ended = Promise.withResolvers<void>();
  endpoint = (connection) => {
    connection.write(CUT_OFF);
    connection.on("end", () => connection.end(() => ended.resolve()));
    connection.on("close", () => ended.resolve());
  };
  await ask((client) => client.destroy());
  await ended.promise;
  await Bun.sleep(10);
  expect(proxy?.problems).toEqual([]);
});
