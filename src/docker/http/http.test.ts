import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ByteReader, ConnectionLost } from "./byte-reader.ts";
import { ProtocolError } from "./protocol-error.ts";
import { RequestBody } from "./request-body.ts";
import { type BodyFraming, parseRequestHead } from "./request-head.ts";

const head = (text: string) => parseRequestHead(Buffer.from(text, "latin1"));
const idle = { pause: () => undefined, resume: () => undefined };

async function bodyOf(framing: BodyFraming, pieces: Uint8Array[]): Promise<{ body: string; after: string }> {
  const reader = new ByteReader(idle);
  const body = new RequestBody(reader, framing, () => Promise.resolve());
  const feeding = (async () => {
    for (const piece of pieces) {
      reader.push(piece);
      await Promise.resolve();
    }
    reader.end();
  })();
  const chunks: Uint8Array[] = [];
  for (let chunk = await body.read(); chunk !== undefined; chunk = await body.read()) chunks.push(chunk);
  await feeding;
  return { body: Buffer.concat(chunks).toString("latin1"), after: reader.peek().toString("latin1") };
}

describe("request head", () => {
  test("method, target, headers, framing", () => {
    const parsed = head("POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Y:  z \t\r\nContent-Length: 5\r\nConnection: close");
    expect(parsed).toMatchObject({
      method: "POST",
      target: "/a?b=c",
      keepAlive: false,
      framing: { kind: "length", bytes: 5 },
    });
    expect(parsed.headers.get("x-y")).toBe("z");
  });

  test("upgrade needs both headers", () => {
    expect(head("POST / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: tcp").upgrade).toBe(true);
    expect(head("POST / HTTP/1.1\r\nHost: x\r\nUpgrade: tcp").upgrade).toBe(false);
    expect(head("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade").upgrade).toBe(false);
  });

  test("any bytes give a head or a ProtocolError, nothing else", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "GET ",
        "/",
        " HTTP/1.1",
        "\r\n",
        "Host: a",
        ":",
        " ",
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
      ),
      fc.string({ unit: "binary", maxLength: 8 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        try {
          expect(head(pieces.join("")).target).toStartWith("/");
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("request body", () => {
  const chunked = (chunks: string[]): string =>
    `${chunks.map((chunk) => `${chunk.length.toString(16)};x=y\r\n${chunk}\r\n`).join("")}0\r\nTrailer: t\r\n\r\n`;

  test("chunks survive any fragmentation, and what follows stays for the next request", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme-ascii", minLength: 1 })),
        fc.array(fc.nat(40), { maxLength: 40 }),
        async (chunks, cuts) => {
          const wire = Buffer.from(`${chunked(chunks)}NEXT`, "latin1");
          const pieces: Uint8Array[] = [];
          let at = 0;
          for (const cut of cuts) {
            if (cut === 0 || at >= wire.length) continue;
            pieces.push(wire.subarray(at, at + cut));
            at += cut;
          }
          if (at < wire.length) pieces.push(wire.subarray(at));
          expect(await bodyOf({ kind: "chunked" }, pieces)).toEqual({ body: chunks.join(""), after: "NEXT" });
        },
      ),
    );
  });

  test("a length is exact; an early end is an error", async () => {
    expect(await bodyOf({ kind: "length", bytes: 3 }, [Buffer.from("ab"), Buffer.from("cde")])).toEqual({
      body: "abc",
      after: "de",
    });
    await expect(bodyOf({ kind: "length", bytes: 3 }, [Buffer.from("ab")])).rejects.toThrow(ConnectionLost);
    await expect(bodyOf({ kind: "chunked" }, [Buffer.from("5\r\nab")])).rejects.toThrow(ConnectionLost);
  });

  test("malformed chunks and endless lines are refused", async () => {
    for (const wire of [
      "g\r\n",
      "\r\n",
      "-1\r\n",
      "1\nabc",
      "1\r\nab\r\n",
      `1;${"x".repeat(2000)}`,
      `0\r\n${"T: t\r\n".repeat(3000)}\r\n`,
    ]) {
      await expect(bodyOf({ kind: "chunked" }, [Buffer.from(wire)])).rejects.toThrow(ProtocolError);
    }
  });
});

test("a reader asks the socket to pause above the high-water mark and to go on below half of it", async () => {
  const calls: string[] = [];
  const reader = new ByteReader({ pause: () => calls.push("pause"), resume: () => calls.push("resume") }, 100);
  for (let i = 0; i < 15; i++) reader.push(new Uint8Array(10));
  expect(calls).toEqual(["pause"]);
  for (let i = 0; i < 9; i++) await reader.read(10);
  expect(calls).toEqual(["pause"]);
  await reader.read(10);
  expect(calls).toEqual(["pause", "resume"]);
});
