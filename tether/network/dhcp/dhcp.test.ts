import { expect, test } from "bun:test";
import type { DhcpFrame } from "../../../src/format/dhcp-frame.ts";
import { decodeDhcpReply } from "../../../src/format/dhcp-message.ts";
import type { NetworkConfiguration } from "../../../src/link/guest-configuration.ts";
import { DhcpClient, type DhcpClientOptions } from "./client.ts";
import { withLeases } from "./effective.ts";
import { isValid, type Lease, leaseOf } from "./lease.ts";
import type { DhcpLink } from "./link.ts";

const MAC = "00:50:56:01:02:03";
const SERVER = "10.9.0.1";

/** A message of the client, taken apart as far as a server must. */
interface Asked {
  type: number;
  transaction: number;
  clientAddress: string;
  requested: string | undefined;
  /** Ethernet address that it was sent to. */
  to: string;
}

type Reply = {
  type: number;
  address?: string;
  server?: string;
  lease?: number;
  transaction?: number;
  hardware?: string;
};

const octets = (text: string): number[] => text.split(".").map(Number);

function read(frame: Uint8Array): Asked {
  const message = frame.subarray(42);
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const options = new Map<number, Uint8Array>();
  for (let at = 240; message[at] !== 255; at += 2 + (message[at + 1] ?? 0))
    options.set(message[at] ?? 0, message.subarray(at + 2, at + 2 + (message[at + 1] ?? 0)));
  return {
    type: options.get(53)?.[0] ?? 0,
    transaction: view.getUint32(4),
    clientAddress: Array.from(message.subarray(12, 16)).join("."),
    requested: options.has(50) ? Array.from(options.get(50) ?? []).join(".") : undefined,
    to: Array.from(frame.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":"),
  };
}

function write(
  asked: Asked,
  { type, address = "10.9.0.50", server = SERVER, lease = 600, ...forged }: Reply,
): DhcpFrame {
  const message = new Uint8Array(300);
  const view = new DataView(message.buffer);
  message.set([2, 1, 6]);
  view.setUint32(4, forged.transaction ?? asked.transaction);
  message.set(octets(address), 16);
  message.set(
    (forged.hardware ?? MAC).split(":").map((part) => Number.parseInt(part, 16)),
    28,
  );
  view.setUint32(236, 0x63825363);
  message.set(
    [53, 1, type, 54, 4, ...octets(server), 51, 4, 0, 0, lease >> 8, lease & 255, 1, 4, 255, 255, 255, 0, 255],
    240,
  );
  return {
    sourceHardware: "02:00:00:00:00:01",
    targetHardware: MAC,
    sourceAddress: server,
    targetAddress: address,
    message,
  };
}

/** A server in memory: `answer` says what comes back for each message. */
function client(answer: (asked: Asked) => Reply[], more: Partial<DhcpClientOptions> = {}) {
  const asked: Asked[] = [];
  const logged: string[] = [];
  const open = (): DhcpLink => {
    const replies: DhcpFrame[] = [];
    return {
      send: (frame) => {
        const message = read(frame);
        asked.push(message);
        replies.push(...answer(message).map((reply) => write(message, reply)));
        return true;
      },
      receive: async (milliseconds) => {
        const next = replies.shift();
        if (next === undefined) clock.now += milliseconds;
        return next;
      },
      close: () => replies.splice(0),
    };
  };
  const clock = { now: 1_000_000 };
  const changes: (Lease | undefined)[] = [];
  const made = new DhcpClient({
    hardwareAddress: MAC,
    hostName: "unit",
    open,
    onChange: (lease) => changes.push(lease),
    onKept: () => undefined,
    log: (message) => logged.push(message),
    now: () => clock.now,
    sleep: async (milliseconds) => {
      clock.now += milliseconds;
    },
    ...more,
  });
  return { made, asked, logged, clock, changes };
}

const OFFER = 2;
const ACK = 5;
const NAK = 6;
const honest = ({ type }: Asked): Reply[] => (type === 1 ? [{ type: OFFER }] : type === 3 ? [{ type: ACK }] : []);

test("discover, request, and an address; release tells the server alone", async () => {
  const { made, asked } = client(honest);
  expect(await made.acquire(10_000)).toMatchObject({
    address: "10.9.0.50",
    prefixLength: 24,
    expiry: 600,
    renewal: 300,
  });
  expect(asked.map(({ type, requested }) => [type, requested])).toEqual([
    [1, undefined],
    [3, "10.9.0.50"],
  ]);
  made.release();
  expect(asked.at(-1)).toMatchObject({ type: 7, clientAddress: "10.9.0.50", to: "02:00:00:00:00:01" });
  expect(made.lease).toBeUndefined();
});

test("answers to others, and with another transaction, are not heard", async () => {
  const { made } = client((asked) => [
    { type: asked.type === 1 ? OFFER : ACK, address: "6.6.6.6", transaction: 1 },
    { type: asked.type === 1 ? OFFER : ACK, address: "6.6.6.6", hardware: "02:66:66:66:66:66" },
    { type: asked.type === 1 ? OFFER : ACK, address: "127.0.0.1" },
    ...honest(asked),
  ]);
  expect((await made.acquire(10_000)).address).toBe("10.9.0.50");
  made.close();
});

test("a refusal by somebody who was not asked does not count; one by the server begins anew", async () => {
  let requests = 0;
  const { made, asked, logged } = client((message) => {
    if (message.type !== 3) return honest(message);
    requests++;
    return requests === 1 ? [{ type: NAK, server: "10.9.0.66" }, { type: NAK }] : [{ type: ACK }];
  });
  expect((await made.acquire(10_000)).address).toBe("10.9.0.50");
  expect(asked.map(({ type }) => type)).toEqual([1, 3, 1, 3]);
  expect(logged).toEqual(["a DHCP server refuses 10.9.0.50: no reason given"]);
  made.close();
});

test("without a server it ends in time, having asked a bounded number of times", async () => {
  const { made, asked } = client(() => []);
  await expect(made.acquire(20_000)).rejects.toThrow("no DHCP server gave an address within 20 s");
  expect(asked.length).toBeLessThan(12);
  made.close();
});

test("a flood of nonsense does not keep it from ending", async () => {
  const { made } = client(() => Array.from({ length: 1000 }, () => ({ type: OFFER, address: "0.0.0.0" })));
  await expect(made.acquire(20_000)).rejects.toThrow("no DHCP server");
  made.close();
});

const earlier = (obtained: number, expiry = 600): Lease => {
  const frame = write(
    { type: 3, transaction: 1, clientAddress: "", requested: "", to: "" },
    { type: ACK, address: "10.9.0.77" },
  );
  const lease = leaseOf(decodeDhcpReply(frame.message), frame, obtained);
  if (!lease) throw new Error("no lease");
  return { ...lease, expiry };
};

test("an earlier address is asked for again, at once while its lease runs and by discover afterwards", async () => {
  const again = client(({ type }) => (type === 3 ? [{ type: ACK, address: "10.9.0.77" }] : []), {
    earlier: earlier(1_000_000),
  });
  expect((await again.made.acquire(10_000)).address).toBe("10.9.0.77");
  expect(again.asked).toMatchObject([{ type: 3, requested: "10.9.0.77", clientAddress: "0.0.0.0" }]);
  again.made.close();
  const later = client(honest, { earlier: earlier(0, 0) });
  await later.made.acquire(10_000);
  expect(later.asked[0]).toMatchObject({ type: 1, requested: "10.9.0.77" });
  later.made.close();
});

test("no server, but a lease that still runs: its address is used; refused, it is not", async () => {
  const silent = client(() => [], { earlier: earlier(1_000_000) });
  expect((await silent.made.acquire(10_000)).address).toBe("10.9.0.77");
  silent.made.close();
  const refusing = client(({ type }) => (type === 3 ? [{ type: NAK }] : []), { earlier: earlier(1_000_000) });
  await expect(refusing.made.acquire(10_000)).rejects.toThrow("no DHCP server");
  refusing.made.close();
});

test("times of a lease: the server's where they make sense, else the standard's", () => {
  const frame = write({ type: 3, transaction: 1, clientAddress: "", requested: "", to: "" }, { type: ACK, lease: 1 });
  const reply = decodeDhcpReply(frame.message);
  expect(leaseOf(reply, frame, 0)).toMatchObject({ expiry: 20, rebinding: 17.5, renewal: 10 });
  expect(leaseOf({ ...reply, leaseSeconds: 1000, renewalSeconds: 100, rebindingSeconds: 200 }, frame, 0)).toMatchObject(
    {
      expiry: 1000,
      rebinding: 200,
      renewal: 100,
    },
  );
  expect(leaseOf({ ...reply, leaseSeconds: 1000, renewalSeconds: 0, rebindingSeconds: 5000 }, frame, 0)).toMatchObject({
    rebinding: 1000,
    renewal: 500,
  });
  const endless = leaseOf({ ...reply, leaseSeconds: 0xffffffff }, frame, 0);
  expect(endless && isValid(endless, 1e15)).toBe(true);
  expect(leaseOf({ ...reply, address: "224.0.0.1" }, frame, 0)).toBeUndefined();
  expect(
    leaseOf(
      { ...reply, routers: ["10.9.0.1"], routes: [{ destination: "0.0.0.0", prefixLength: 0, gateway: "10.9.0.9" }] },
      frame,
      0,
    )?.gateway,
  ).toBe("10.9.0.9");
});

test("what a lease adds to the networks, and what it does not replace", () => {
  const network: NetworkConfiguration = {
    interfaces: [
      { mac: "a", name: "eth0", addresses: [{ address: "172.18.0.2", prefixLength: 16 }] },
      {
        mac: MAC,
        name: "eth1",
        addresses: [],
        dhcp: { defaultRoute: true },
        firewall: { trust: "peers", ports: [], peers: [] },
      },
    ],
    nameservers: ["127.0.0.11"],
    search: [],
    options: [],
    hosts: [],
    resolver: { address: "127.0.0.11", upstreams: [], nameServer: "172.18.0.1" },
  };
  const lease: Lease = {
    ...earlier(0),
    gateway: "10.9.0.1",
    nameServers: ["10.9.0.2"],
    search: ["lab.example"],
    mtu: 1400,
  };
  const leases = new Map([[MAC, lease]]);
  expect(withLeases(network, leases)).toMatchObject({
    interfaces: [
      { name: "eth0" },
      {
        addresses: [{ address: "10.9.0.77", prefixLength: 24 }],
        gateway: "10.9.0.1",
        mtu: 1400,
        firewall: { peers: [{ first: "10.9.0.0", last: "10.9.0.255" }] },
      },
    ],
    search: ["lab.example"],
    resolver: { upstreams: ["10.9.0.2"] },
  });
  expect(withLeases(network, new Map()).resolver?.upstreams).toEqual(["172.18.0.1"]);
  const chosen = { ...network, search: ["mine"], resolver: { address: "127.0.0.11", upstreams: ["1.1.1.1"] } };
  expect(withLeases(chosen, leases)).toMatchObject({ search: ["mine"], resolver: { upstreams: ["1.1.1.1"] } });
});

test("frames to all have no address of the client's", () => {
  const { made, asked } = client(honest);
  void made.acquire(1000).then(() => made.close());
  expect(asked[0]?.to).toBe("ff:ff:ff:ff:ff:ff");
});
