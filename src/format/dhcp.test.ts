import { expect, test } from "bun:test";
import fc from "fast-check";
import { checksum, decodeDhcpFrame, encodeDhcpFrame } from "./dhcp-frame.ts";
import { DHCP_TYPE, decodeDhcpReply, encodeDhcpRequest } from "./dhcp-message.ts";
import { FormatError } from "./format-error.ts";

const MAC = "00:50:56:01:02:03";

/** What a server sends: the fixed part of a request turned round, and options of one's own. */
function reply(options: [code: number, value: number[]][], changes: (message: Uint8Array) => void = () => undefined) {
  const request = encodeDhcpRequest({ type: 1, transaction: 0x01020304, seconds: 0, hardwareAddress: MAC });
  const tail = options.flatMap(([code, value]) => [code, value.length, ...value]);
  const message = Uint8Array.from([...request.subarray(0, 240), ...tail, 255]);
  message[0] = 2;
  message.set([10, 1, 2, 3], 16);
  changes(message);
  return message;
}

test("a request has what servers need", () => {
  const message = encodeDhcpRequest({
    type: DHCP_TYPE.request,
    transaction: 0xdeadbeef,
    seconds: 3,
    hardwareAddress: MAC,
    requestedAddress: "10.0.0.9",
    serverIdentifier: "10.0.0.1",
    hostName: "web",
  });
  expect(message.length).toBeGreaterThanOrEqual(300);
  const hex = Buffer.from(message).toString("hex");
  expect(hex.slice(0, 24)).toBe("01010600deadbeef00038000");
  expect(hex.slice(56, 68)).toBe("005056010203");
  for (const option of ["350103", "3d0701005056010203", "32040a000009", "36040a000001", "0c03776562"])
    expect(hex.slice(480)).toContain(option);
});

test("renewing names the client's address and no other; a broadcast answer is not asked for", () => {
  const message = encodeDhcpRequest({
    type: DHCP_TYPE.request,
    transaction: 1,
    seconds: 0,
    hardwareAddress: MAC,
    clientAddress: "10.0.0.9",
  });
  const hex = Buffer.from(message).toString("hex");
  expect(hex.slice(20, 32)).toBe("00000a000009");
  expect(hex.slice(480)).not.toContain("3204");
  expect(() => encodeDhcpRequest({ type: 1, transaction: 1, seconds: 0, hardwareAddress: "nonsense" })).toThrow(
    FormatError,
  );
});

test("a reply is read with all that a container needs", () => {
  const search = [3, ...Buffer.from("one"), 2, ...Buffer.from("ex"), 0, 3, ...Buffer.from("two"), 0xc0, 4];
  const read = decodeDhcpReply(
    reply([
      [53, [5]],
      [54, [10, 1, 2, 1]],
      [1, [255, 255, 254, 0]],
      [51, [0, 0, 14, 16]],
      [58, [0, 0, 7, 8]],
      [59, [0, 0, 12, 78]],
      [3, [10, 1, 2, 1]],
      [6, [10, 1, 2, 1, 0, 0, 0, 0, 10, 1, 2, 2]],
      [15, [...Buffer.from("Example.org\0")]],
      [119, search],
      [121, [0, 10, 1, 2, 1, 24, 192, 168, 5, 10, 1, 2, 7]],
      [26, [5, 120]],
    ]),
  );
  expect(read).toEqual({
    type: 5,
    transaction: 0x01020304,
    hardwareAddress: MAC,
    address: "10.1.2.3",
    serverIdentifier: "10.1.2.1",
    prefixLength: 23,
    leaseSeconds: 3600,
    renewalSeconds: 1800,
    rebindingSeconds: 3150,
    routers: ["10.1.2.1"],
    routes: [
      { destination: "0.0.0.0", prefixLength: 0, gateway: "10.1.2.1" },
      { destination: "192.168.5.0", prefixLength: 24, gateway: "10.1.2.7" },
    ],
    nameServers: ["10.1.2.1", "10.1.2.2"],
    search: ["example.org", "one.ex", "two.ex"],
    mtu: 1400,
  });
});

test("options go on in the fields of names, and over several pieces", () => {
  const read = decodeDhcpReply(
    reply(
      [
        [53, [6]],
        [52, [3]],
        [15, [...Buffer.from("exam")]],
      ],
      (message) => {
        message.set([15, 4, ...Buffer.from("ple."), 255], 108);
        message.set([15, 3, ...Buffer.from("org"), 255], 44);
      },
    ),
  );
  expect(read.search).toEqual(["example.org"]);
});

test("what makes no sense is left out; lines for resolv.conf cannot be smuggled in", () => {
  const read = decodeDhcpReply(
    reply([
      [53, [2]],
      [1, [255, 0, 255, 0]],
      [3, [127, 0, 0, 1, 224, 0, 0, 1, 255, 255, 255, 255]],
      [15, [...Buffer.from("a b\nnameserver 6.6.6.6")]],
      [119, [0xc0, 0]],
      [121, [33, 1, 2, 3, 4]],
      [26, [0, 1]],
      [51, [1, 2]],
      [56, [...Buffer.from("no\x1b[2J")]],
    ]),
  );
  expect(read).toMatchObject({ routers: [], routes: [], search: [], message: "no[2J" });
  for (const field of ["prefixLength", "mtu", "leaseSeconds"]) expect(read).not.toHaveProperty(field);
});

test.each([
  ["a request", reply([[53, [2]]], (message) => (message[0] = 1))],
  ["another hardware", reply([[53, [2]]], (message) => (message[1] = 6))],
  ["no magic number", reply([[53, [2]]], (message) => (message[236] = 0))],
  ["no type", reply([[51, [0, 0, 0, 9]]])],
  ["a client's type", reply([[53, [3]]])],
  ["an option cut off", Uint8Array.from([...reply([[53, [2]]]).subarray(0, -1), 51, 4, 0])],
  ["too little", new Uint8Array(200)],
  ["too much", new Uint8Array(3000)],
])("%s is no reply", (_what, message) => {
  expect(() => decodeDhcpReply(message)).toThrow(FormatError);
});

const frameOf = (message: Uint8Array) =>
  encodeDhcpFrame({
    sourceHardware: MAC,
    targetHardware: "ff:ff:ff:ff:ff:ff",
    sourceAddress: "0.0.0.0",
    targetAddress: "255.255.255.255",
    message,
  });

/** The same frame in the other direction. */
function answered(frame: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(frame);
  copy.set([0, 67, 0, 68], 34);
  return copy;
}

test("frames: checksums are right, and what was put in comes out, padding or not", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 600 }), fc.nat(30), (message, padding) => {
      const frame = frameOf(message);
      expect(checksum(frame.subarray(14, 34))).toBe(0);
      const udp = frame.subarray(34);
      const pseudo = Uint8Array.of(...frame.subarray(26, 34), 0, 17, udp.length >> 8, udp.length & 255);
      expect(checksum(Buffer.concat([pseudo, udp]))).toBe(0);
      const read = decodeDhcpFrame(Buffer.concat([answered(frame), new Uint8Array(padding)]));
      expect(read?.message).toEqual(message);
      expect(read?.length).toBe(frame.length);
    }),
  );
});

test("frames that are not for a client are not read", () => {
  const good = answered(frameOf(new Uint8Array(300)));
  expect(decodeDhcpFrame(good)).toBeDefined();
  const damaged = (...changes: [offset: number, value: number][]): Uint8Array => {
    const copy = Uint8Array.from(good);
    for (const [offset, value] of changes) copy[offset] = value;
    return copy;
  };
  for (const frame of [
    frameOf(new Uint8Array(300)),
    damaged([12, 0x86]),
    damaged([14, 0x44]),
    damaged([16, 0xff]),
    damaged([23, 6]),
    damaged([20, 0x20]),
    damaged([38, 0xff]),
    good.subarray(0, 40),
  ])
    expect(decodeDhcpFrame(frame)).toBeUndefined();
});

test("any bytes are a reply or a FormatError", () => {
  const good = reply([
    [53, [5]],
    [119, [3, 97, 98, 99, 0xc0, 0]],
    [121, [24, 10, 0, 0, 10, 0, 0, 1]],
  ]);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 300 }),
      (changes, tail) => {
        const message = Uint8Array.from([...good.subarray(0, -1), ...tail]);
        for (const [offset, value] of changes) message[offset] = value;
        try {
          const read = decodeDhcpReply(message);
          expect(read.search.every((name) => /^[a-z0-9._-]+$/.test(name))).toBe(true);
          expect(read.nameServers.length).toBeLessThanOrEqual(8);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
        }
        decodeDhcpFrame(message);
      },
    ),
    { numRuns: 2000 },
  );
});
