import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CHANNEL_WINDOW } from "./channel.ts";
import type { Channel } from "./contract.ts";
import { DATA_FRAME_LIMIT, encodeFrame, FRAME, type Frame, FrameDecoder, frameCost } from "./frames.ts";
import { LinkError } from "./link-error.ts";
import { answerCall, closeWithError, Session } from "./session.ts";

const LIMITS = { channels: 8, pingAfter: 15_000, deadAfter: 45_000, resumeWithin: 1_000 };

/** A pipe that takes at most `room` bytes at a time and delivers them later, in pieces of at most `piece`. */
const connect = (piece = 1 << 20, room = 1 << 20, limits = LIMITS): { engine: Session; tether: Session } => {
  const make = (peer: () => Session, self: () => Session) => ({
    write: (bytes: Uint8Array): number => {
      const taken = bytes.slice(0, room);
      setImmediate(() => {
        for (let at = 0; at < taken.length; at += piece) peer().received(taken.subarray(at, at + piece));
        if (taken.length < bytes.length) self().drained();
      });
      return taken.length;
    },
    end: () => setImmediate(() => peer().ended("pipe closed")),
  });
  const engine: Session = new Session(
    make(
      () => tether,
      () => engine,
    ),
    "engine",
    limits,
  );
  const tether: Session = new Session(
    make(
      () => engine,
      () => tether,
    ),
    "tether",
    limits,
  );
  return { engine, tether };
};

const echo = async (channel: Channel): Promise<void> => {
  for await (const message of channel) {
    if (message.kind === "data") await channel.send(message.stream, message.bytes);
    else if (message.kind === "control") await channel.control(message.message);
    else break;
  }
  channel.close();
};

const exec = (session: Session): Channel =>
  session.open("attach", { stdin: true, stdout: true, stderr: true, fromStart: false });

describe("frames", () => {
  test("any frames, cut anywhere, come out as they went in", () => {
    const frame = fc.record({
      type: fc.constantFrom(FRAME.open, FRAME.control, FRAME.data, FRAME.close, FRAME.goodbye),
      channel: fc.nat(0xffffffff),
      stream: fc.nat(255),
      payload: fc.uint8Array({ maxLength: 300 }),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 40 })), (frames, cuts) => {
        const wire = Buffer.concat(frames.map((f) => encodeFrame(f.type, f.channel, f.stream, f.payload)));
        const decoder = new FrameDecoder();
        const got: Frame[] = [];
        let offset = 0;
        for (const cut of [...cuts, wire.length]) {
          decoder.push(wire.subarray(offset, offset + cut), (f) => got.push(f));
          offset += cut;
        }
        expect(got.map((f) => ({ ...f, payload: [...f.payload] }))).toEqual(
          frames.map((f) => ({ ...f, payload: [...f.payload] })),
        );
      }),
    );
  });

  test("random bytes never do anything but throw ProtocolError or wait", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          new FrameDecoder().push(bytes, () => undefined);
        } catch (error) {
          expect((error as Error).name).toBe("ProtocolError");
        }
      }),
    );
  });
});

describe("session", () => {
  test("calls answer, and fail with the code of the other side", async () => {
    const { engine, tether } = connect();
    tether.onChannel((channel) => {
      if (channel.request.op === "state") void answerCall(channel, { version: 1, boot: "b", status: "ready" });
      else closeWithError(channel, new LinkError("not-running", "gone"));
    });
    expect(await engine.call("state", {})).toEqual({ version: 1, boot: "b", status: "ready" });
    expect(engine.call("signal", { process: "main", signal: 9 })).rejects.toMatchObject({
      code: "not-running",
      message: "gone",
    });
  });

  test("bytes arrive complete and in order through any cutting of the transport", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 5000 }), { maxLength: 10 }),
        fc.integer({ min: 1, max: 3000 }),
        fc.integer({ min: 1, max: 3000 }),
        async (chunks, piece, room) => {
          const { engine, tether } = connect(piece, room);
          tether.onChannel((channel) => void echo(channel));
          const channel = exec(engine);
          const sending = (async () => {
            for (const chunk of chunks) await channel.send(0, chunk);
            await channel.end(0);
          })();
          const got: Uint8Array[] = [];
          for await (const message of channel) if (message.kind === "data") got.push(message.bytes);
          await sending;
          expect(Buffer.concat(got).equals(Buffer.concat(chunks))).toBe(true);
          engine.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  test("a reader that stops holds the sender at the window, and a second channel goes on", async () => {
    const { engine, tether } = connect();
    let stalled: Channel | undefined;
    tether.onChannel((channel) => {
      if (stalled === undefined) stalled = channel;
      else void echo(channel);
    });
    const slow = exec(engine);
    let sent = 0;
    const sending = (async () => {
      for (let i = 0; i < 64; i++) {
        await slow.send(0, new Uint8Array(DATA_FRAME_LIMIT));
        sent += DATA_FRAME_LIMIT;
      }
      await slow.end(0);
    })();
    const quick = exec(engine);
    await quick.control({ hello: 1 });
    for await (const message of quick) {
      expect(message).toEqual({ kind: "control", message: { hello: 1 } });
      break;
    }
    expect(sent).toBeLessThanOrEqual(CHANNEL_WINDOW);
    if (stalled === undefined) throw new Error("no channel");
    let received = 0;
    for await (const message of stalled) {
      if (message.kind === "end") break;
      if (message.kind === "data") received += message.bytes.length;
    }
    await sending;
    expect(received).toBe(64 * DATA_FRAME_LIMIT);
  });

  test("control messages longer than the window pass whole", async () => {
    const { engine, tether } = connect();
    tether.onChannel((channel) => void echo(channel));
    const channel = exec(engine);
    const text = "x".repeat(900 * 1024);
    await channel.control({ text });
    for await (const message of channel) {
      expect(message).toEqual({ kind: "control", message: { text } });
      break;
    }
    await expect(channel.control({ text: text + text })).rejects.toMatchObject({ code: "invalid" });
  });

  test("what was sent before a close is delivered before the close", async () => {
    const { engine, tether } = connect();
    tether.onChannel(async (channel) => {
      await channel.send(1, Buffer.from("last words"));
      channel.close({ code: "no-space", message: "disk full" });
    });
    const got: string[] = [];
    const reading = (async () => {
      for await (const message of exec(engine))
        if (message.kind === "data") got.push(String(Buffer.from(message.bytes)));
    })();
    await expect(reading).rejects.toMatchObject({ code: "no-space", message: "disk full" });
    expect(got).toEqual(["last words"]);
  });

  test("more channels than allowed are refused as busy, on either side", async () => {
    const { engine, tether } = connect();
    tether.onChannel(() => undefined);
    const channels = Array.from({ length: 9 }, () => exec(engine));
    const ninth = channels[8];
    if (ninth === undefined) throw new Error("no channel");
    await expect(ninth.control({})).rejects.toMatchObject({ code: "busy" });
    channels[0]?.close();
    await expect(exec(engine).control({})).resolves.toBeUndefined();
  });

  test("the end of the session fails every channel and call with its reason", async () => {
    const { engine, tether } = connect();
    tether.onChannel(() => undefined);
    const call = engine.call("state", {});
    const stuck = exec(engine);
    const sending = stuck.send(0, new Uint8Array(2 * CHANNEL_WINDOW));
    tether.close("powering off");
    await expect(call).rejects.toMatchObject({ code: "disconnected" });
    await expect(sending).rejects.toMatchObject({ code: "disconnected" });
    expect((await engine.closed).reason).toContain("powering off");
    await expect(engine.call("state", {})).rejects.toMatchObject({ code: "disconnected" });
  });

  describe("a peer that breaks the rules ends the session with the reason", () => {
    const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
    const open = encodeFrame(FRAME.open, 2, 0, json({ op: "event" }));
    const cases: [string, Uint8Array[]][] = [
      ["unknown frame type", [new Uint8Array(10).fill(77)]],
      ["too long", [Uint8Array.from([FRAME.data, 0, 0, 0, 0, 2, 0xff, 0, 0, 0])]],
      ["bad channel number", [encodeFrame(FRAME.open, 1, 0, json({ op: "event" }))]],
      ["bad channel number", [open, open]],
      ["not JSON", [encodeFrame(FRAME.open, 2, 0, Buffer.from("{"))]],
      ["without op", [encodeFrame(FRAME.open, 2, 0, json({}))]],
      ["never opened", [encodeFrame(FRAME.data, 4, 0, json(1))]],
      ["never opened", [encodeFrame(FRAME.data, 1, 0, json(1))]],
      [
        "after its end",
        [open, encodeFrame(FRAME.end, 2, 0, new Uint8Array(0)), encodeFrame(FRAME.data, 2, 0, json(1))],
      ],
      ["more credit", [open, encodeFrame(FRAME.credit, 2, 0, Uint8Array.from([0, 0, 0, 1]))]],
      [
        "beyond the window",
        [
          open,
          ...Array.from({ length: CHANNEL_WINDOW / frameCost(0) + 1 }, () =>
            encodeFrame(FRAME.data, 2, 0, new Uint8Array(0)),
          ),
        ],
      ],
    ];
    test.each(cases)("%s", async (reason, frames) => {
      const session = new Session({ write: (bytes) => bytes.length, end: () => undefined }, "engine", LIMITS);
      session.onChannel(() => undefined);
      for (const frame of frames) session.received(frame);
      const end = await Promise.race([session.closed, Bun.sleep(50).then(() => ({ reason: "still open" }))]);
      expect(end.reason).toContain(reason);
      session.close();
    });
  });

  test("random bytes never throw out of received", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 })), (chunks) => {
        const session = new Session({ write: (bytes) => bytes.length, end: () => undefined }, "engine", LIMITS);
        for (const chunk of chunks) session.received(chunk);
        session.close();
      }),
    );
  });

  test("a peer that sends but does not read is cut off", async () => {
    const session = new Session({ write: () => 0, end: () => undefined }, "engine", { ...LIMITS, channels: 0 });
    const request = Buffer.from(JSON.stringify({ op: "event" }));
    for (let i = 1; i < 150_000; i++) session.received(encodeFrame(FRAME.open, 2 * i, 0, request));
    expect((await session.closed).reason).toBe("the peer does not read");
  });

  test("a program that stood still itself does not blame its peer", async () => {
    const { engine } = connect(1 << 20, 1 << 20, { channels: 8, pingAfter: 50, deadAfter: 200, resumeWithin: 100 });
    await Bun.sleep(10);
    Bun.sleepSync(500);
    expect(await Promise.race([engine.closed, Bun.sleep(150).then(() => "alive")])).toBe("alive");
    engine.close();
  });

  test("a silent peer is asked, then given up; an idle one that answers is kept", async () => {
    const limits = { channels: 8, pingAfter: 50, deadAfter: 400, resumeWithin: 100 };
    const silent = new Session({ write: (bytes) => bytes.length, end: () => undefined }, "engine", limits);
    const { engine } = connect(1 << 20, 1 << 20, limits);
    expect((await silent.closed).reason).toContain("no sign of life");
    const state = await Promise.race([engine.closed, Bun.sleep(800).then(() => "alive")]);
    expect(state).toBe("alive");
    engine.close();
  });
});
