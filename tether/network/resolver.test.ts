import { afterEach, expect, test } from "bun:test";
import dns from "node:dns/promises";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { addressResponse, parseQuery, responseLifetime } from "../../src/format/dns-message.ts";
import type { ResolverConfiguration } from "../../src/link/guest-configuration.ts";
import { mergeLines } from "../boot/etc-files.ts";
import { FrameReader, frame } from "./forwarder.ts";
import { PeerNames } from "./peer-names.ts";
import { openResolver } from "./resolver.ts";

/** Loopback addresses of this test only: 127.0.0.0/8 is all ours. */
const ADDRESS = "127.83.72.1";
const UPSTREAM = "127.83.72.2";
const STAND_IN = "127.83.72.3";
const PORTS = { listen: 20054, upstream: 20055 };

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function names(): PeerNames {
  const directory = mkdtempSync(join(tmpdir(), "vch-peers-"));
  closers.push(() => rmSync(directory, { recursive: true }));
  return new PeerNames(join(directory, "peers.json"));
}

const NETWORKS = [
  {
    name: "front",
    peers: [
      { names: ["web-1", "web"], addresses: ["10.1.0.2"] },
      { names: ["web-2", "web"], addresses: ["10.1.0.3", "fd00::3"] },
    ],
  },
  { name: "back", peers: [{ names: ["db"], addresses: ["10.2.0.9"] }] },
];

async function open(peers: PeerNames, more: Partial<ResolverConfiguration> = {}): Promise<dns.Resolver> {
  const resolver = await openResolver({ address: ADDRESS, upstreams: [UPSTREAM], ...more }, peers, PORTS);
  closers.push(() => resolver.close());
  const client = new dns.Resolver({ timeout: 9000, tries: 1 });
  client.setServers([`${ADDRESS}:${PORTS.listen}`]);
  return client;
}

/** A name server that answers every name and counts. */
async function upstream(address: string, answer: string): Promise<{ asked: number }> {
  const counter = { asked: 0 };
  const udp = await Bun.udpSocket({
    hostname: address,
    port: PORTS.upstream,
    binaryType: "uint8array",
    socket: {
      data: (socket, query, port, sender) => {
        counter.asked++;
        const question = parseQuery(query);
        if (question) socket.send(addressResponse(query, question, [answer], 60), port, sender);
      },
    },
  });
  closers.push(() => udp.close());
  return counter;
}

test("peers by name, by name.network and backwards; other record types of a peer exist not", async () => {
  const peers = names();
  peers.set(NETWORKS);
  const client = await open(peers);
  expect((await client.resolve4("WEB")).toSorted()).toEqual(["10.1.0.2", "10.1.0.3"]);
  expect(await client.resolve4("db.back")).toEqual(["10.2.0.9"]);
  expect(await client.resolve6("web-2")).toEqual(["fd00::3"]);
  expect(await client.reverse("10.2.0.9")).toEqual(["db.back"]);
  await expect(client.resolve6("db")).rejects.toThrow();
});

test("several addresses come in changing order", () => {
  const peers = names();
  peers.set(NETWORKS);
  const firsts = new Set<string>();
  for (let question = 0; question < 40; question++) firsts.add(peers.addresses("web")?.[0] ?? "");
  expect(firsts.size).toBe(3);
});

test("other names are forwarded, and remembered", async () => {
  const counter = await upstream(UPSTREAM, "192.0.2.1");
  const peers = names();
  peers.set([]);
  const client = await open(peers);
  expect(await client.resolve4("example.test")).toEqual(["192.0.2.1"]);
  expect(await client.resolve4("example.test")).toEqual(["192.0.2.1"]);
  expect(counter.asked).toBe(1);
});

test("before the table has arrived, the gateway stands in; a table of an earlier boot counts", async () => {
  await upstream(STAND_IN, "192.0.2.3");
  const peers = names();
  const client = await open(peers, { nameServer: STAND_IN });
  expect(await client.resolve4("db")).toEqual(["192.0.2.3"]);
  peers.set(NETWORKS);
  // Another name: the test's own client remembers answers.
  expect(await client.resolve4("db.back")).toEqual(["10.2.0.9"]);
});

test("lines that a container added to its files stay when networks change", () => {
  const before = "127.0.0.1\tlocalhost\n10.1.0.2\tabc\n";
  const present = `${before}10.9.9.9\tmine\n`;
  expect(mergeLines(present, before, "127.0.0.1\tlocalhost\n10.2.0.2\tabc\n")).toBe(
    "127.0.0.1\tlocalhost\n10.9.9.9\tmine\n10.2.0.2\tabc\n",
  );
});

test("hostile responses are read without harm", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => responseLifetime(bytes) >= 0));
});

test("messages come out of a stream however it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 9 })),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.map(frame));
        const reader = new FrameReader();
        const found: Uint8Array[] = [];
        let offset = 0;
        for (const cut of [...cuts, stream.length]) {
          found.push(...reader.push(new Uint8Array(stream.subarray(offset, offset + cut))));
          offset += cut;
        }
        expect(found.map((message) => [...message])).toEqual(messages.map((message) => [...message]));
      },
    ),
  );
});
