import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { apiDocument } from "../openapi/document.ts";
import { REQUEST_SCHEMAS_FILE } from "../openapi/generate.ts";
import { requestSchemaSource } from "../openapi/request-schemas.ts";
import { conform } from "./conform.ts";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";
import { registryCredentials } from "./registry-auth.ts";
import { formatLogTime, parseTimestamp } from "./timestamp.ts";

describe("timestamps", () => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5);
  test("the three forms", () => {
    expect(parseTimestamp("1136073600", now)).toBe(1136073600_000000000n);
    expect(parseTimestamp("1136073600.000000001", now)).toBe(1136073600_000000001n);
    expect(parseTimestamp("1.5", now)).toBe(1_500000000n);
    expect(parseTimestamp("2006-01-02T15:04:05.25+01:00", now)).toBe(1136210645_250000000n);
    expect(parseTimestamp("2006-01-02T15:04", now)).toBe(1136214240_000000000n);
    expect(parseTimestamp("2006-01-02", now)).toBe(1136160000_000000000n);
    expect(parseTimestamp("1h30m", now)).toBe(BigInt(now - 5400_000) * 1_000_000n);
    for (const text of ["", "x", "10", "1e3", "10y", "2006-13-01", "0x10"]) {
      if (text !== "10") expect(parseTimestamp(text, now)).toBeUndefined();
    }
  });

  test("what the log prints can be asked for again", () => {
    fc.assert(
      fc.property(
        fc.bigInt(0n, 4_000_000_000_000_000_000n),
        (time) => parseTimestamp(formatLogTime(time), now) === time,
      ),
    );
  });
});

describe("detach keys", () => {
  const run = (keys: string | undefined, chunks: string[]) => {
    const scanner = new DetachScanner(parseDetachKeys(keys));
    let passed = "";
    for (const chunk of chunks) {
      const { pass, detached } = scanner.scan(Buffer.from(chunk, "latin1"));
      passed += Buffer.from(pass).toString("latin1");
      if (detached) return { passed, detached };
    }
    return { passed, detached: false };
  };

  test("the sequence detaches, across chunks too, and is not passed on", () => {
    expect(run(undefined, ["ab\x10\x11cd"])).toEqual({ passed: "ab", detached: true });
    expect(run(undefined, ["ab\x10", "\x11cd"])).toEqual({ passed: "ab", detached: true });
    expect(run(undefined, ["\x10\x10\x11"])).toEqual({ passed: "\x10", detached: true });
    expect(run("a", ["xa"])).toEqual({ passed: "x", detached: true });
    expect(run("ctrl-@", ["x\0"])).toEqual({ passed: "x", detached: true });
  });

  test("all else is passed on unchanged", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a\x10]*$/)), (chunks) => {
        const { passed, detached } = run(undefined, [...chunks, "z"]);
        expect(detached).toBe(false);
        expect(passed).toBe(`${chunks.join("")}z`);
      }),
    );
  });

  test("nonsense is refused", () => {
    for (const keys of ["ctrl-", "ctrl-!", "abc", "a,,b", "ü"])
      expect(() => parseDetachKeys(keys)).toThrow("Invalid detach keys");
  });
});

test("registry credentials", () => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  expect(registryCredentials(undefined)).toBeUndefined();
  expect(registryCredentials(encode({}))).toBeUndefined();
  expect(registryCredentials(encode({ identitytoken: "t" }))).toEqual({ identitytoken: "t" });
  expect(registryCredentials(encode({ auth: Buffer.from("u:p:q").toString("base64") }))).toEqual({
    username: "u",
    password: "p:q",
  });
  for (const header of ["???", encode([]), encode("x"), Buffer.from("{").toString("base64url")]) {
    expect(() => registryCredentials(header)).toThrow("invalid X-Registry-Auth");
  }
});

describe("conform", () => {
  test("keeps unknown fields, folds known ones, and cannot be used to reach prototypes", () => {
    const schema = { type: "object", properties: { Name: { type: "string" } } } as const;
    expect(conform(JSON.parse('{"name":"a","Other":1,"__proto__":{"x":1}}'), schema, "")).toEqual(
      JSON.parse('{"Name":"a","Other":1,"__proto__":{"x":1}}'),
    );
    expect(({} as { x?: number }).x).toBeUndefined();
  });
});

test("the generated request checks are up to date", async () => {
  expect(await Bun.file(REQUEST_SCHEMAS_FILE).text()).toBe(requestSchemaSource(await apiDocument()));
});
