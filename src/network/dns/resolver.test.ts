import { afterEach, expect, test } from "bun:test";
import dgram from "node:dgram";
import dns from "node:dns/promises";
import net from "node:net";
import fc from "fast-check";
import { addressResponse, parseQuery } from "../../format/dns-message.ts";
import { frame } from "./exchange.ts";
import { openResolver, type Resolver, type ResolverOptions } from "./resolver.ts";
import { parseNameservers } from "./upstreams.ts";

/** Loopback addresses of this test only: 127.0.0.0/8 is all ours. */
const RESOLVER = "127.83.71.1";
const PORT = 20053;
const UPSTREAMS = ["127.83.71.2", "127.83.71.3"];

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function open(options: Partial<ResolverOptions>): Promise<{ resolver: Resolver; client: dns.Resolver }> {
  const resolver = await openResolver({
    address: RESOLVER,
    port: PORT,
    upstreamPort: PORT,
    upstreams: { list: () => UPSTREAMS },
    log: () => undefined,
    ...options,
  });
  closers.push(() => resolver.close());
  const client = new dns.Resolver({ timeout: 9000, tries: 1 });
  client.setServers([`${RESOLVER}:${PORT}`]);
  return { resolver, client };
}

/** A name server that answers every name: truncated over UDP when `big`. */
async function upstream(address: string, answer: string, big = false): Promise<void> {
  const reply = (query: Uint8Array): Uint8Array => {
    const question = parseQuery(query);
    return question === undefined ? query : addressResponse(query, question, [answer], 60);
  };
  const udp = dgram.createSocket("udp4");
  udp.on("message", (query, sender) => {
    const response = reply(query);
    if (big) response[2] = (response[2] ?? 0) | 2;
    // A forged answer first: wrong id.
    const forged = addressResponse(
      query,
      parseQuery(query) ?? { id: 0, name: "", type: 1, class: 1, end: 12 },
      ["6.6.6.6"],
      60,
    );
    forged[0] = (forged[0] ?? 0) ^ 255;
    udp.send(forged, sender.port, sender.address);
    udp.send(response, sender.port, sender.address);
  });
  await new Promise<void>((resolve) => udp.bind(PORT, address, () => resolve()));
  const tcp = net.createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => socket.write(frame(reply(new Uint8Array(chunk.subarray(2))))));
  });
  await new Promise<void>((resolve) => tcp.listen(PORT, address, () => resolve()));
  closers.push(
    () => udp.close(),
    () => tcp.close(),
  );
}

test("forwards, takes no forged answer, and asks the second server when the first is away", async () => {
  await upstream("127.83.71.3", "192.0.2.1");
  const { client } = await open({});
  expect(await client.resolve4("example.test")).toEqual(["192.0.2.1"]);
});

test("goes over to TCP for truncated answers", async () => {
  await upstream("127.83.71.2", "192.0.2.2", true);
  const { client } = await open({});
  expect(await client.resolve4("big.test")).toEqual(["192.0.2.2"]);
});

test("SERVFAIL without name servers", async () => {
  const { client } = await open({ upstreams: { list: () => [] } });
  await expect(client.resolve4("example.test")).rejects.toMatchObject({ code: "ESERVFAIL" });
});

test("answers names of the hook itself, for the guest that asks", async () => {
  const { client } = await open({ names: (name, from) => (name === "db" ? [from, "192.0.2.9"] : undefined) });
  expect(await client.resolve4("DB")).toEqual(["127.0.0.1", "192.0.2.9"]);
});

test("parsing a hostile message never throws", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const question = parseQuery(bytes);
      return question === undefined || question.end <= bytes.length;
    }),
  );
});

test("reads resolv.conf", () => {
  expect(
    parseNameservers("# x\nnameserver 127.0.0.53\n nameserver fe80::1%eth0\nnameserver nonsense\noptions edns0\n"),
  ).toEqual(["127.0.0.53", "fe80::1%eth0"]);
});
