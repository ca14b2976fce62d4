/** Clients that break the rules: the server refuses them in words, in bounded memory, and goes on serving others. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type HttpServer, startHttpServer } from "../../src/docker/http/server.ts";
import type { ContainerCreateBody } from "../../src/engine/contract.ts";
import { type ServerFixture, startServer } from "./server-fixture.ts";

const MEBIBYTE = 1024 * 1024;
let fixture: ServerFixture;
beforeAll(async () => {
  fixture = await startServer({ validated: false });
});
afterAll(async () => {
  await fixture.close();
});

/** The types list every field that the document gives a default as required; clients need not send them. */
const SHELL = { Image: "shell" } as ContainerCreateBody;

interface Client {
  socket: Bun.Socket<undefined>;
  received(): string;
  closed: Promise<string>;
}

async function connect(options: { reading?: boolean; path?: string } = {}): Promise<Client> {
  const chunks: Buffer[] = [];
  let close: (text: string) => void = () => undefined;
  const closed = new Promise<string>((resolve) => {
    close = resolve;
  });
  const received = (): string => Buffer.concat(chunks).toString("latin1");
  const socket = await Bun.connect({
    unix: options.path ?? fixture.socket,
    allowHalfOpen: true,
    socket: {
      data: (_, bytes) => void chunks.push(Buffer.from(bytes)),
      end: (self) => void self.end(),
      close: () => close(received()),
    },
  });
  if (options.reading === false) socket.pause();
  return { socket, received, closed };
}

async function exchange(text: string | Uint8Array): Promise<string> {
  const client = await connect();
  client.socket.write(text);
  client.socket.shutdown();
  return await client.closed;
}

const status = (answer: string): number => Number(answer.split(" ")[1]);

describe("malformed requests", () => {
  const cases: [name: string, request: string, status: number][] = [
    [
      "length and transfer coding",
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
      400,
    ],
    ["two lengths", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400],
    ["signed length", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400],
    ["unknown transfer coding", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501],
    ["folded header", "GET /_ping HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400],
    ["space before colon", "GET /_ping HTTP/1.1\r\nHost : a\r\n\r\n", 400],
    ["no host", "GET /_ping HTTP/1.1\r\n\r\n", 400],
    ["two hosts", "GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
    ["bare line feed", "GET /_ping HTTP/1.1\nHost: a\n\n", 400],
    ["NUL in a header", "GET /_ping HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400],
    ["HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
    ["TLS to a plain socket", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400],
    ["bad chunk size", "POST /containers/create HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400],
    [
      "chunk longer than its size",
      "POST /containers/create HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
      400,
    ],
    ["unknown expectation", "GET /_ping HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417],
    ["too many headers", `GET /_ping HTTP/1.1\r\nHost: a\r\n${"X: 1\r\n".repeat(200)}\r\n`, 431],
    ["endless header", `GET /_ping HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(200_000)}\r\n\r\n`, 431],
    ["endless target", `GET /${"a".repeat(70_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
    ["cut head", "GET /_ping HTTP/1.1\r\nHost: a\r\n", 400],
  ];
  for (const [name, request, expected] of cases) {
    test(name, async () => {
      const answer = await exchange(Buffer.from(request, "latin1"));
      expect(status(answer)).toBe(expected);
      expect(JSON.parse(answer.slice(answer.indexOf("\r\n\r\n"))).message).toBeString();
    });
  }
});

describe("well-formed oddities", () => {
  const ping = "GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n";

  test("pipelined requests are answered in order", async () => {
    const answer = await exchange(`${ping}GET /v1.40/version HTTP/1.1\r\nHost: a\r\n\r\n${ping}`);
    expect(answer.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3);
    expect(answer.indexOf("ApiVersion")).toBeGreaterThan(answer.indexOf("OK\r\n"));
  });

  test("one byte at a time", async () => {
    const client = await connect();
    for (const byte of Buffer.from(ping)) {
      client.socket.write(Uint8Array.of(byte));
      await Bun.sleep(0);
    }
    client.socket.shutdown();
    expect(status(await client.closed)).toBe(200);
  });

  test("HTTP/1.0, absolute form, leading empty line, HEAD without a body", async () => {
    expect(await exchange("GET /_ping HTTP/1.0\r\n\r\n")).toContain("Connection: close");
    expect(status(await exchange("GET http://docker/v1.44/_ping HTTP/1.1\r\nHost: docker\r\n\r\n"))).toBe(200);
    expect(status(await exchange(`\r\n${ping}`))).toBe(200);
    const head = await exchange("HEAD /_ping HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(head).toContain("Api-Version: 1.");
    expect(head).toEndWith("\r\n\r\n");
  });

  test("Expect: 100-continue is answered before the body is sent", async () => {
    const client = await connect();
    client.socket.write(
      "POST /volumes/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
    );
    while (!client.received().includes("100 Continue")) await Bun.sleep(5);
    client.socket.write('{"Name":"e"}');
    client.socket.shutdown();
    expect(await client.closed).toContain("201 Created");
  });

  test("a hijack without Upgrade is 200 and raw; bytes in the packet of the request are not lost", async () => {
    const { Id } = await fixture.engine.containers.create("raw", { ...SHELL, Cmd: ["cat"], OpenStdin: true });
    const attached = exchange(
      `POST /containers/${Id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: a\r\n\r\nearly`,
    );
    await fixture.engine.containers.start(Id);
    const answer = await attached;
    expect(answer).toStartWith("HTTP/1.1 200 OK\r\n");
    expect(answer).toEndWith("\x01\0\0\0\0\0\0\x05early");
  });
});

describe("limits", () => {
  test("a 100 MB JSON body is refused before it is read, declared or not", async () => {
    const before = process.memoryUsage.rss();
    const declared = await exchange(
      "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n{",
    );
    expect(status(declared)).toBe(413);
    const client = await connect();
    client.socket.write(
      "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    const chunk = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(65536, " "), Buffer.from("\r\n")]);
    for (let sent = 0; sent < 100 * MEBIBYTE && !client.received().includes("413"); sent += 65536) {
      client.socket.write(chunk);
      await Bun.sleep(0);
    }
    expect(status(client.received())).toBe(413);
    client.socket.terminate();
    expect(process.memoryUsage.rss() - before).toBeLessThan(60 * MEBIBYTE);
  });

  test("a client that never reads costs no memory and delays nobody", async () => {
    const { Id } = await fixture.engine.containers.create("flood", { ...SHELL, Cmd: ["yes"] });
    const client = await connect({ reading: false });
    client.socket.write(
      `POST /containers/${Id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
    );
    await Bun.sleep(50);
    await fixture.engine.containers.start(Id);
    await Bun.sleep(300);
    const before = process.memoryUsage.rss();
    await Bun.sleep(1000);
    expect(process.memoryUsage.rss() - before).toBeLessThan(30 * MEBIBYTE);
    const started = performance.now();
    expect(status(await exchange("GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n"))).toBe(200);
    expect(performance.now() - started).toBeLessThan(1000);
    client.socket.terminate();
    await fixture.engine.containers.remove(Id, { force: true, volumes: false, link: false });
  });

  test("connections beyond the limit take the place of silent ones, and are told so while all are at work", async () => {
    const path = join(fixture.directory, "limited.sock");
    let atWork = 0;
    const server: HttpServer = await startHttpServer({
      listeners: [{ kind: "unix", path, mode: 0o600 }],
      handler: ({ url }) => {
        if (!url.endsWith("/wait")) return new Response("ok");
        atWork++;
        return new Promise<Response>(() => undefined);
      },
      onError: () => undefined,
      maxConnections: 2,
    });
    const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const silent = await connect({ path });
    const busy = await connect({ path });
    busy.socket.write(get("/wait"));
    while (atWork < 1) await Bun.sleep(5);
    const third = await connect({ path });
    expect(await silent.closed).toBe("");
    third.socket.write(get("/"));
    while (!third.received().endsWith("ok")) await Bun.sleep(5);
    third.socket.write(get("/wait"));
    while (atWork < 2) await Bun.sleep(5);
    expect(status(await (await connect({ path })).closed)).toBe(503);
    third.socket.terminate();
    while (server.connections > 1) await Bun.sleep(5);
    const next = await connect({ path });
    next.socket.write(get("/"));
    next.socket.shutdown();
    expect(status(await next.closed)).toBe(200);
    await server.close();
  });

  test("a head that does not arrive in time gets 408", async () => {
    const client = await connect();
    client.socket.write("GET /_ping HTTP/1.1\r\nHo");
    expect(status(await client.closed)).toBe(408);
  }, 30_000);

  test("a reader that stalls over TLS gets everything in the end", async () => {
    const { directory, port, engine } = fixture;
    await engine.containers.create("slow", SHELL);
    const tar = Buffer.alloc(24 * MEBIBYTE, "0123456789");
    engine.archives.set("/big", { stat: { name: "big", size: 1, mode: 0, mtime: "", linkTarget: "" }, tar });
    const request = "GET /containers/slow/archive?path=/big HTTP/1.0\\r\\nHost: a\\r\\n\\r\\n";
    const tls = `openssl s_client -quiet -connect 127.0.0.1:${port} -CAfile ca.pem -cert cert.pem -key key.pem`;
    const reader = `(printf '${request}'; sleep 12) | ${tls} 2>/dev/null | (sleep 8; cat) | wc -c`;
    const child = Bun.spawn(["sh", "-c", reader], { cwd: directory, stdout: "pipe" });
    expect(Number(await child.stdout.text())).toBeGreaterThan(tar.length);
  }, 30_000);
});

test("listening refuses a path in use or occupied, and replaces a dead socket", async () => {
  const listen = (path: string) =>
    startHttpServer({
      listeners: [{ kind: "unix", path, mode: 0o660 }],
      handler: () => new Response(),
      onError: () => undefined,
    });
  await expect(listen(fixture.socket)).rejects.toThrow("another process already listens");
  await expect(listen(join(fixture.directory, "ca.pem"))).rejects.toThrow("is not a socket");
  const path = join(fixture.directory, "dead.sock");
  await Bun.$`python3 -c "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])" ${path}`;
  const server = await listen(path);
  expect((await Bun.file(path).stat()).mode & 0o777).toBe(0o660);
  await server.close();
  expect(await Bun.file(path).exists()).toBe(false);
});
