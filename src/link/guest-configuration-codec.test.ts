import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  CONFIGURATION_CHUNK_LIMIT,
  CONFIGURATION_CHUNKS_KEY,
  type LoaderConfiguration,
} from "./guest-configuration.ts";
import { decodeConfiguration, decodeState, encodeConfiguration, encodeState } from "./guest-configuration-codec.ts";

const loader = (hostname: string): LoaderConfiguration => ({
  version: 1,
  role: "loader",
  id: "l",
  hostname,
  link: { carrier: "net", endpoints: ["10.0.0.1:2378"], serverFingerprint: "", token: "" },
  network: { interfaces: [], nameservers: [], search: [], options: [], hosts: [] },
});

test("any configuration comes back as it went in, in chunks that fit guestinfo", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary", maxLength: 2000 }), async (hostname) => {
      const values = encodeConfiguration(loader(hostname));
      expect(await decodeConfiguration((key) => values[key])).toEqual(loader(hostname));
    }),
    { numRuns: 30 },
  );
  const long = loader(Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString("base64"));
  const values = encodeConfiguration(long);
  expect(Number(values[CONFIGURATION_CHUNKS_KEY])).toBeGreaterThan(1);
  for (const value of Object.values(values)) expect(value.length).toBeLessThanOrEqual(CONFIGURATION_CHUNK_LIMIT);
  expect(await decodeConfiguration((key) => values[key])).toEqual(long);
});

test("too long, missing and damaged configurations are refused", async () => {
  const huge = Buffer.from(crypto.getRandomValues(new Uint8Array(65_536)));
  expect(() => encodeConfiguration(loader(huge.toString("base64").repeat(9)))).toThrow("too long");
  const values = encodeConfiguration(loader("h"));
  const get = (changes: Record<string, string | undefined>) => (key: string) => ({ ...values, ...changes })[key];
  expect(decodeConfiguration(get({ [CONFIGURATION_CHUNKS_KEY]: undefined }))).rejects.toThrow("no configuration");
  expect(decodeConfiguration(get({ [CONFIGURATION_CHUNKS_KEY]: "1e9" }))).rejects.toThrow("no configuration");
  expect(decodeConfiguration(get({ [CONFIGURATION_CHUNKS_KEY]: "2" }))).rejects.toThrow("chunk 1 of 2 is missing");
  expect(decodeConfiguration(get({ "guestinfo.vch.config.0": "AAAA" }))).rejects.toThrow("damaged");
});

test("a state survives, is cut to the limit, and hostile text is no state", () => {
  const state = { version: 1, boot: "b", status: "failed", error: "e".repeat(10_000) } as const;
  expect(decodeState(encodeState({ ...state, error: "short" }))).toEqual({ ...state, error: "short" });
  expect(decodeState(encodeState(state))?.error).toBe("e".repeat(500));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(decodeState(text)).toBeUndefined();
    }),
  );
  expect(decodeState(JSON.stringify({ ...state, exitCode: "1", error: "" }))).toBeUndefined();
});
