import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FormatError } from "../format-error.ts";
import {
  ALL_SUBOPTIONS,
  encodeProxyRequest,
  encodeSubnegotiation,
  encodeSuboption,
  encodeTelnetData,
  encodeTelnetOption,
  hostUuid,
  parseProxyRequest,
  parseSuboption,
  SUBNEGOTIATION_LIMIT,
  SUBOPTION,
  suboptionUuid,
  TelnetDecoder,
  type TelnetEvent,
} from "./index.ts";

/** Neighbouring data joined: where it is cut says nothing. */
const decode = (wire: Uint8Array, cuts: readonly number[]): unknown[] => {
  const decoder = new TelnetDecoder();
  const events: unknown[] = [];
  let data: number[] | undefined;
  const event = (found: TelnetEvent): void => {
    if (found.kind === "data") {
      if (data === undefined) {
        data = [];
        events.push(data);
      }
      data.push(...found.bytes);
      return;
    }
    data = undefined;
    events.push(found.kind === "subnegotiation" ? { ...found, bytes: [...found.bytes] } : found);
  };
  let at = 0;
  for (const cut of [...cuts, wire.length]) {
    decoder.push(wire.subarray(at, at + cut), event);
    at += cut;
  }
  return events;
};

const bytes = (maxLength: number) => fc.array(fc.oneof(fc.constant(255), fc.constant(240), fc.nat(255)), { maxLength });

test("data, options and subnegotiations come out as they went in, however they are cut", () => {
  const item = fc.oneof(
    bytes(60).map((content) => ({ wire: encodeTelnetData(Uint8Array.from(content)), event: content as unknown })),
    fc.record({ verb: fc.constantFrom("will", "wont", "do", "dont"), option: fc.nat(255) }).map((event) => ({
      wire: encodeTelnetOption(event.verb as "will", event.option),
      event: { kind: "option", ...event } as unknown,
    })),
    fc.record({ option: fc.nat(255), bytes: bytes(60) }).map((event) => ({
      wire: encodeSubnegotiation(event.option, Uint8Array.from(event.bytes)),
      event: { kind: "subnegotiation", ...event } as unknown,
    })),
  );
  fc.assert(
    fc.property(fc.array(item, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 30 })), (items, cuts) => {
      const expected: unknown[] = [];
      for (const { event } of items) {
        const last = expected.at(-1);
        if (Array.isArray(event) && Array.isArray(last)) last.push(...event);
        else if (!Array.isArray(event) || event.length > 0) expected.push(Array.isArray(event) ? [...event] : event);
      }
      expect(decode(Buffer.concat(items.map(({ wire }) => wire)), cuts)).toEqual(expected);
    }),
  );
});

test("random bytes throw FormatError or nothing", () => {
  fc.assert(
    fc.property(bytes(300), (wire) => {
      try {
        new TelnetDecoder().push(Uint8Array.from(wire), (event) => {
          if (event.kind === "subnegotiation") parseSuboption(event.bytes);
        });
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
      }
    }),
  );
});

test("a subnegotiation that does not end is given up", () => {
  const decoder = new TelnetDecoder();
  decoder.push(Uint8Array.of(255, 250, 232), () => undefined);
  expect(() => decoder.push(new Uint8Array(SUBNEGOTIATION_LIMIT), () => undefined)).toThrow("too long");
  expect(() => encodeSubnegotiation(232, new Uint8Array(SUBNEGOTIATION_LIMIT))).toThrow("too long");
});

describe("VMware's extension", () => {
  test("every suboption comes back with its payload", () => {
    for (const suboption of ALL_SUBOPTIONS) {
      const [event] = decode(encodeSuboption(suboption, Uint8Array.of(1, 255, 0)), []) as [{ bytes: number[] }];
      expect(parseSuboption(Uint8Array.from(event.bytes))).toEqual({
        known: true,
        suboption,
        payload: Uint8Array.of(1, 255, 0),
      });
    }
    expect(parseSuboption(Uint8Array.of(99))).toEqual({ known: false, suboption: 99 });
    expect(() => parseSuboption(new Uint8Array(0))).toThrow(FormatError);
  });

  test("UUIDs as hosts write them", () => {
    const uuid = "421e6d1c-9a2b-3c4d-5e6f-708192a3b4c5";
    expect(hostUuid(uuid)).toBe("42 1e 6d 1c 9a 2b 3c 4d-5e 6f 70 81 92 a3 b4 c5");
    expect(suboptionUuid(Buffer.from(hostUuid(uuid)))).toBe(uuid);
    expect(suboptionUuid(Buffer.from(uuid.toUpperCase()))).toBe(uuid);
    expect(() => suboptionUuid(Buffer.from("42 1e"))).toThrow("malformed UUID");
    expect(() => suboptionUuid(Uint8Array.of(0xc3))).toThrow("not UTF-8");
  });

  test("proxy requests", () => {
    const [event] = decode(encodeProxyRequest("server", "vch"), []) as [{ bytes: number[] }];
    const parsed = parseSuboption(Uint8Array.from(event.bytes));
    expect(parsed).toMatchObject({ suboption: SUBOPTION.doProxy });
    expect(parseProxyRequest(Uint8Array.from(event.bytes.slice(1)))).toEqual({ direction: "server", uri: "vch" });
    expect(() => parseProxyRequest(Buffer.from("Xvch"))).toThrow("without a direction");
  });
});
