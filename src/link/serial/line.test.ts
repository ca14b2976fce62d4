import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LINE_WINDOW, type LineConnection, type LinePort, type LineUser } from "./line-connection.ts";
import { LineAnswerer, LineCaller } from "./line-ends.ts";
import { encodeLineFrame, LINE_FRAME, LINE_PAYLOAD_LIMIT, type LineFrame, LineFrameDecoder } from "./line-frame.ts";

const TIMING = { first: 20, shortest: 10, longest: 40, deadAfter: 3_000 };

describe("frames", () => {
  const frame = fc.record({
    kind: fc.integer({ min: LINE_FRAME.hello, max: LINE_FRAME.reject }) as fc.Arbitrary<LineFrame["kind"]>,
    caller: fc.nat(0xffffffff),
    answerer: fc.nat(0xffffffff),
    sequence: fc.nat(0xffffffff),
    acknowledged: fc.nat(0xffffffff),
    room: fc.nat(0xffff),
    payload: fc.array(fc.oneof(fc.constantFrom(0x7e, 0x7d), fc.nat(255)), { maxLength: 100 }),
  });
  const noise = fc.array(fc.oneof(fc.constantFrom(0x7e, 0x7d), fc.nat(255)), { maxLength: 30 });

  test("frames between noise, cut anywhere, come out as they went in", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(noise, frame), { maxLength: 10 }),
        fc.integer({ min: 1, max: 50 }),
        (items, cut) => {
          const wire = Buffer.concat(
            items.map(([before, { payload, ...rest }]) =>
              Buffer.concat([Uint8Array.from(before), encodeLineFrame({ ...rest, payload: Uint8Array.from(payload) })]),
            ),
          );
          const decoder = new LineFrameDecoder();
          const got: unknown[] = [];
          for (let at = 0; at < wire.length; at += cut)
            decoder.push(wire.subarray(at, at + cut), (found) => got.push({ ...found, payload: [...found.payload] }));
          expect(got).toEqual(items.map(([, item]) => item));
        },
      ),
    );
  });

  test("a damaged frame is passed over, and the next one found", () => {
    const make = (sequence: number): Uint8Array =>
      encodeLineFrame({
        kind: LINE_FRAME.data,
        caller: 1,
        answerer: 2,
        sequence,
        acknowledged: 0,
        room: 3,
        payload: new Uint8Array(LINE_PAYLOAD_LIMIT).fill(sequence),
      });
    const wire = make(1);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: wire.length - 2 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = wire.slice();
        damaged[at] = (damaged[at] ?? 0) ^ change;
        const got: number[] = [];
        const decoder = new LineFrameDecoder();
        decoder.push(damaged, ({ sequence }) => got.push(sequence));
        decoder.push(make(7), ({ sequence }) => got.push(sequence));
        expect(got).toEqual([7]);
      }),
    );
  });

  test("endless input without a flag takes no memory", () => {
    const decoder = new LineFrameDecoder();
    for (let i = 0; i < 100; i++) decoder.push(new Uint8Array(100_000).fill(1), () => expect.unreachable());
  });
});

interface Quality {
  /** Of pieces: lost, repeated, one byte changed. In percent. */
  lost: number;
  repeated: number;
  damaged: number;
}
const PERFECT: Quality = { lost: 0, repeated: 0, damaged: 0 };

/** One direction of a line, with a seeded chance so that failures can be repeated. */
const way = (to: () => { arrived(bytes: Uint8Array): void }, quality: () => Quality, seed: number): LinePort => {
  let state = seed >>> 0 || 1;
  const percent = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % 100;
  };
  return {
    isBusy: false,
    write: (bytes) => {
      const { lost, repeated, damaged } = quality();
      if (percent() < lost) return;
      const copy = bytes.slice();
      if (percent() < damaged) copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 0x55;
      const times = percent() < repeated ? 2 : 1;
      for (let i = 0; i < times; i++) setImmediate(() => to().arrived(copy));
    },
  };
};

/** Collects what arrives; stops for a moment now and then. */
class Reader implements LineUser {
  readonly got: Uint8Array[] = [];
  length = 0;
  end: string | undefined;
  connection: LineConnection | undefined;
  readonly #stopEvery: number;
  #waiting: (() => void)[] = [];

  constructor(stopEvery = 0) {
    this.#stopEvery = stopEvery;
  }

  received(bytes: Uint8Array): boolean {
    this.got.push(bytes);
    this.length += bytes.length;
    this.#wake();
    if (this.#stopEvery === 0 || this.got.length % this.#stopEvery !== 0) return true;
    setTimeout(() => this.connection?.resume(), 5);
    return false;
  }

  drained(): void {
    this.#wake();
  }

  closed(reason: string): void {
    this.end = reason;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  async reach(length: number): Promise<void> {
    while (this.length < length && this.end === undefined) await this.#changed();
  }

  async sendAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const taken = this.connection?.send(bytes.subarray(at)) ?? 0;
      at += taken;
      if (this.end !== undefined) throw new Error(this.end);
      if (taken === 0) await this.#changed();
    }
  }
}

const makeLine = (quality: () => Quality, seed = 1, stopEvery = 0) => {
  const answered: Reader[] = [];
  const caller: LineCaller = new LineCaller(
    way(() => answerer, quality, seed),
    TIMING,
  );
  const answerer: LineAnswerer = new LineAnswerer((begin) => {
    const reader = new Reader(stopEvery);
    reader.connection = begin(reader);
    answered.push(reader);
  }, TIMING);
  answerer.usePort(way(() => caller, quality, seed + 1));
  return {
    caller,
    answerer,
    answered,
    call: async (): Promise<Reader> => {
      const reader = new Reader(stopEvery);
      reader.connection = await caller.call(reader, AbortSignal.timeout(4_000));
      return reader;
    },
  };
};

const patterned = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8) * seed + seed) & 0xff);

test("over a line that loses, repeats and damages, both directions arrive once, whole and in order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ lost: fc.nat(20), repeated: fc.nat(20), damaged: fc.nat(10) }),
      fc.nat(1_000_000),
      fc.tuple(fc.nat(60_000), fc.nat(60_000)),
      fc.nat(5),
      async (quality, seed, [toThere, toHere], stopEvery) => {
        const line = makeLine(() => quality, seed, stopEvery);
        const here = await line.call();
        const there = line.answered.at(-1) ?? here;
        const [first, second] = [patterned(toThere, 3), patterned(toHere, 5)];
        await Promise.all([
          here.sendAll(first),
          there.sendAll(second),
          there.reach(first.length),
          here.reach(second.length),
        ]);
        expect(Buffer.concat(there.got).equals(first)).toBe(true);
        expect(Buffer.concat(here.got).equals(second)).toBe(true);
        here.connection?.close("over");
        there.connection?.close("over");
      },
    ),
    { numRuns: 12 },
  );
}, 120_000);

test("a reader that stops bounds what is under way, and is not taken for dead", async () => {
  const line = makeLine(() => PERFECT);
  const here = await line.call();
  const [there] = line.answered;
  if (there === undefined) throw new Error("not answered");
  const taken: number[] = [];
  there.received = (bytes) => {
    taken.push(bytes.length);
    return false;
  };
  let sent = 0;
  for (let i = 0; i < 200; i++) {
    sent += here.connection?.send(new Uint8Array(LINE_PAYLOAD_LIMIT)) ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(taken.length).toBe(1);
  expect(sent).toBeLessThanOrEqual((2 * LINE_WINDOW + 1) * LINE_PAYLOAD_LIMIT);
  await Bun.sleep(TIMING.deadAfter + 500);
  expect(here.end).toBeUndefined();
  here.connection?.close("over");
}, 20_000);

test("bytes of an earlier connection are nobody's; the caller of an unknown one is told at once", async () => {
  const line = makeLine(() => PERFECT);
  const first = await line.call();
  await first.sendAll(patterned(100, 1));
  const second = await line.call();
  expect(first.end).toContain("another call");
  await second.sendAll(patterned(5_000, 2));
  const there = line.answered[1];
  await there?.reach(5_000);
  expect(there?.got.length).toBeGreaterThan(0);
  expect(Buffer.concat(there?.got ?? []).equals(patterned(5_000, 2))).toBe(true);
  // The answerer was started anew.
  line.answerer.connection?.close("restart");
  await second.sendAll(patterned(10, 3)).catch(() => undefined);
  while (second.end === undefined) await Bun.sleep(1);
  expect(second.end).toContain("ended the connection");
});

test("a port that is away for a while, or replaced, costs nothing but time", async () => {
  let quality: Quality = PERFECT;
  const line = makeLine(() => quality, 9);
  const here = await line.call();
  const there = line.answered[0];
  const bytes = patterned(300_000, 7);
  const sending = here.sendAll(bytes);
  for (const length of [50_000, 150_000]) {
    await there?.reach(length);
    line.answerer.usePort(undefined);
    quality = { ...PERFECT, lost: 100 };
    await Bun.sleep(50);
    quality = PERFECT;
    line.answerer.usePort(
      way(
        () => line.caller,
        () => quality,
        length,
      ),
    );
  }
  await sending;
  await there?.reach(bytes.length);
  expect(Buffer.concat(there?.got ?? []).equals(bytes)).toBe(true);
  expect(line.answered.length).toBe(1);
  here.connection?.close("over");
});

test("a line that says nothing any more is given up", async () => {
  let quality: Quality = PERFECT;
  const line = makeLine(() => quality);
  const here = await line.call();
  quality = { ...PERFECT, lost: 100 };
  here.connection?.send(new Uint8Array(10));
  while (here.end === undefined) await Bun.sleep(20);
  expect(here.end).toContain("no answer");
  await expect(line.caller.call(new Reader(), AbortSignal.timeout(100))).rejects.toThrow("given up");
}, 20_000);
