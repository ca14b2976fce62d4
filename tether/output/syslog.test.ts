import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SyslogConfiguration } from "../../src/link/guest-configuration.ts";
import { OutputHub } from "./hub.ts";
import { LogWriter } from "./log-file.ts";
import { SyslogSender } from "./syslog.ts";
import { syslogMessage } from "./syslog-message.ts";

const CONFIGURATION: SyslogConfiguration = {
  transport: "udp",
  host: "127.0.0.1",
  port: 0,
  facility: 3,
  format: "rfc5424micro",
  hostname: "house",
  tag: "web",
};
const record = (text: string, stream = 1) => ({
  stream,
  nanoseconds: 1_784_678_400_123_456_789n,
  bytes: Buffer.from(text),
});

test.each([
  ["unix", "<30>Jul 22 00:00:00 web[1]: said\n"],
  ["rfc3164", "<30>Jul 22 00:00:00 house web[1]: said\n"],
  ["rfc5424", "<30>1 2026-07-22T00:00:00Z house web 1 web - said\n"],
  ["rfc5424micro", "<30>1 2026-07-22T00:00:00.123456Z house web 1 web - said\n"],
] as const)("format %s", (format, message) => {
  expect(Buffer.from(syslogMessage({ ...CONFIGURATION, format }, record("said\n"))).toString()).toBe(message);
  expect(Buffer.from(syslogMessage({ ...CONFIGURATION, format }, record("said", 2))).toString()).toBe(
    message.replace("<30>", "<27>"),
  );
});

describe("sending", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "vch-syslog-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const hub = (): OutputHub =>
    new OutputHub(new LogWriter(directory, { driver: "json-file", maximumSize: 1e6, maximumFiles: 1 }));

  test("UDP: a datagram for each line", async () => {
    const got: string[] = [];
    const all = Promise.withResolvers<void>();
    const server = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: {
        data: (_socket, bytes) => {
          got.push(Buffer.from(bytes).toString());
          if (got.length === 3) all.resolve();
        },
      },
    });
    const sender = new SyslogSender({ ...CONFIGURATION, format: "unix", port: server.port }, []);
    await sender.open();
    const output = hub();
    output.sendTo((records) => sender.send(records));
    await output.deliver(1, Buffer.from("one\ntwo\nthr"));
    await output.deliver(1, Buffer.from("ee"));
    output.endRun();
    await all.promise;
    expect(got.map((message) => message.replace(/^.*: /, ""))).toEqual(["one\n", "two\n", "three\n"]);
    server.close();
  });

  const listen = async (port = 0): Promise<{ server: Server; port: number; sockets: Socket[]; text: () => string }> => {
    const sockets: Socket[] = [];
    let text = "";
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("data", (bytes) => {
        text += bytes.toString();
      });
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return { server, port: (server.address() as { port: number }).port, sockets, text: () => text };
  };

  test("TCP: everything arrives before the output counts as drained; a lost server costs the log nothing", async () => {
    const first = await listen();
    const sender = new SyslogSender({ ...CONFIGURATION, transport: "tcp", port: first.port }, []);
    await sender.open();
    const output = hub();
    output.sendTo((records) => sender.send(records));
    const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}\n`).join("");
    await output.deliver(2, Buffer.from(lines));
    await output.drained();
    while (!first.text().endsWith("line 4999\n")) await Bun.sleep(5);
    expect(first.text().split("\n")).toHaveLength(5001);
    for (const socket of first.sockets) socket.destroy();
    await new Promise((resolve) => first.server.close(resolve));
    // Neither is held up by a server that is gone.
    await output.deliver(1, Buffer.from("lost\n"));
    await output.deliver(1, Buffer.from("lost too\n"));
    const second = await listen(first.port);
    while (!second.text().includes("found")) {
      await output.deliver(1, Buffer.from("found\n"));
      await Bun.sleep(100);
    }
    for (const socket of second.sockets) socket.destroy();
    second.server.close();
  }, 20_000);

  test("a server that does not answer, and a name that nobody knows, are told", async () => {
    const { server, port } = await listen();
    await new Promise((resolve) => server.close(resolve));
    const refused = new SyslogSender({ ...CONFIGURATION, transport: "tcp", port }, []);
    await expect(refused.open()).rejects.toThrow(
      `failed to initialize logging driver: dial tcp 127.0.0.1:${port}: connect: connection refused`,
    );
    const unknown = new SyslogSender({ ...CONFIGURATION, host: "nobody.invalid", port }, ["127.0.0.1"]);
    await expect(unknown.open()).rejects.toThrow("lookup nobody.invalid: no such host");
  }, 20_000);
});
