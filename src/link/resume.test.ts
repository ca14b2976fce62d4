import { expect, test } from "bun:test";
import fc from "fast-check";
import type { ByteTransport } from "./byte-transport.ts";
import type { Channel } from "./contract.ts";
import { encodeFrame, FRAME } from "./frames.ts";
import { LinkError } from "./link-error.ts";
import { RESUME_WINDOW } from "./outbox.ts";
import { answerCall, closeWithError, Session } from "./session.ts";

const LIMITS = { channels: 8, pingAfter: 15_000, deadAfter: 45_000, resumeWithin: 5_000 };
const ID = "0".repeat(32);

/** A connection of two sessions that loses what is under way when it is cut. */
class Wire {
  #cut = false;
  readonly #room: number;

  constructor(room: number) {
    this.#room = room;
  }

  /** What `from` writes arrives at `to`, later and in pieces. */
  way(from: () => Session, to: () => Session): ByteTransport {
    return {
      write: (bytes) => {
        const taken = bytes.slice(0, this.#room);
        setImmediate(() => {
          if (this.#cut) return;
          to().received(taken);
          if (taken.length < bytes.length) from().drained();
        });
        return taken.length;
      },
      end: () => undefined,
    };
  }

  cut(): void {
    this.#cut = true;
  }
}

/** Both ends of a session that can be cut and connected again. */
const makePair = (room: number, limits = LIMITS) => {
  let wire = new Wire(room);
  const engine: Session = new Session(
    wire.way(
      () => engine,
      () => tether,
    ),
    "engine",
    limits,
    ID,
  );
  const tether: Session = new Session(
    wire.way(
      () => tether,
      () => engine,
    ),
    "tether",
    limits,
    ID,
  );
  const cut = (): void => {
    wire.cut();
    engine.ended("cut");
    tether.ended("cut");
  };
  const connect = (): void => {
    wire.cut();
    wire = new Wire(room);
    const [toEngine, toTether] = [tether.receivedFrames, engine.receivedFrames];
    engine.resume(
      wire.way(
        () => engine,
        () => tether,
      ),
      toEngine,
    );
    tether.resume(
      wire.way(
        () => tether,
        () => engine,
      ),
      toTether,
    );
  };
  return { engine, tether, cut, connect };
};

const echo = async (channel: Channel): Promise<void> => {
  for await (const message of channel) {
    if (message.kind === "data") await channel.send(message.stream, message.bytes);
    else if (message.kind === "control") await channel.control(message.message);
    else break;
  }
  channel.close();
};

const attach = (session: Session): Channel =>
  session.open("attach", { stdin: true, stdout: true, stderr: true, fromStart: false });

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

test("bytes arrive once, complete and in order, wherever and however often the connection is cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 20_000 }), { minLength: 1, maxLength: 12 }),
      fc.array(fc.record({ after: fc.nat(12), away: fc.nat(6) }), { maxLength: 12 }),
      fc.integer({ min: 100, max: 9_000 }),
      async (chunks, cuts, room) => {
        const { engine, tether, cut, connect } = makePair(room);
        tether.onChannel((channel) => void echo(channel));
        const channel = attach(engine);
        const cutting = (async () => {
          for (const { after, away } of cuts) {
            await turns(after);
            cut();
            await turns(away);
            connect();
          }
        })();
        const sending = (async () => {
          for (const chunk of chunks) await channel.send(0, chunk);
          await channel.end(0);
        })();
        const got: Uint8Array[] = [];
        for await (const message of channel) if (message.kind === "data") got.push(message.bytes);
        await Promise.all([sending, cutting]);
        expect(Buffer.concat(got).equals(Buffer.concat(chunks))).toBe(true);
        engine.close();
        tether.close();
      },
    ),
    { numRuns: 60 },
  );
});

test("calls made while the connection is away are answered when it is back, each served once", async () => {
  const { engine, tether, cut, connect } = makePair(1 << 20);
  let served = 0;
  tether.onChannel((channel) => {
    served++;
    if (channel.request.op === "state") void answerCall(channel, served);
    else closeWithError(channel, new LinkError("not-running", "gone"));
  });
  cut();
  const answer = engine.call("state", {});
  const failure = engine.call("signal", { process: "main", signal: 9 }).catch((error: unknown) => error);
  await turns(5);
  expect(served).toBe(0);
  connect();
  expect(await answer).toBe(1 as never);
  expect(await failure).toMatchObject({ code: "not-running" });
  // Cut again before acknowledgements have come: nothing is served twice.
  cut();
  connect();
  await turns(5);
  expect(served).toBe(2);
  engine.close();
  tether.close();
});

test("what waits for the connection is bounded: senders wait, then fail when it does not come back", async () => {
  const { engine, tether, cut } = makePair(1 << 20, { ...LIMITS, resumeWithin: 200 });
  tether.onChannel((channel) => void echo(channel));
  cut();
  const channels = Array.from({ length: 8 }, () => attach(engine));
  let sent = 0;
  const block = new Uint8Array(16 * 1024);
  const failures = await Promise.all(
    channels.map(async (channel) => {
      try {
        for (;;) {
          await channel.send(0, block);
          sent += block.length;
        }
      } catch (error) {
        return error;
      }
    }),
  );
  for (const failure of failures) expect(failure).toMatchObject({ code: "disconnected" });
  // Each sender may have gone one block beyond.
  expect(sent).toBeLessThanOrEqual(RESUME_WINDOW + channels.length * block.length);
  expect((await engine.closed).reason).toContain("not resumed within");
  expect(engine.isOver).toBe(true);
  tether.close();
});

test("a long one-way stream needs no other traffic to be acknowledged", async () => {
  const { engine, tether, cut, connect } = makePair(1 << 20);
  const received = Promise.withResolvers<number>();
  tether.onChannel(async (channel) => {
    let length = 0;
    for await (const message of channel) {
      if (message.kind === "data") length += message.bytes.length;
      if (message.kind === "end") break;
    }
    received.resolve(length);
  });
  const channel = attach(engine);
  for (let i = 0; i < 64; i++) {
    await channel.send(0, new Uint8Array(64 * 1024));
    if (i === 30) {
      cut();
      connect();
    }
  }
  await channel.end(0);
  expect(await received.promise).toBe(64 * 64 * 1024);
  engine.close();
  tether.close();
});

test("a peer that claims to have got more than was sent, or less than it acknowledged, is not resumed", () => {
  const transport: ByteTransport = { write: (bytes) => bytes.length, end: () => undefined };
  const session = new Session(transport, "engine", LIMITS, ID);
  session.onChannel(() => undefined);
  const channel = attach(session);
  void channel.send(0, new Uint8Array(10));
  expect(() => session.resume(transport, 100)).toThrow("acknowledged what was not sent");
  const count = new Uint8Array(8);
  new DataView(count.buffer).setBigUint64(0, 1n);
  session.resume(transport, 0);
  session.received(encodeFrame(FRAME.acknowledge, 0, 0, count));
  expect(() => session.resume(transport, 0)).toThrow("acknowledged what was not sent");
  session.close();
});

test("a session without an id ends with its transport, and takes no acknowledgements", async () => {
  const transport: ByteTransport = { write: (bytes) => bytes.length, end: () => undefined };
  const session = new Session(transport, "engine", LIMITS);
  session.received(encodeFrame(FRAME.acknowledge, 0, 0, new Uint8Array(8)));
  expect((await session.closed).reason).toContain("without an id");
  const other = new Session(transport, "engine", LIMITS);
  other.ended("cut");
  expect((await other.closed).reason).toBe("cut");
});
