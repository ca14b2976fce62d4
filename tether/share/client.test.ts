import { describe, expect, test } from "bun:test";
import { MessageSplitter } from "../../src/format/file-share/framing.ts";
import {
  decodeRequest,
  encodeFailure,
  encodeReply,
  MESSAGE_LIMIT,
  type ShareRequest,
} from "../../src/format/file-share/messages.ts";
import type { Channel } from "../../src/link/contract.ts";
import { STREAM } from "../../src/link/operations.ts";
import { Session } from "../../src/link/session.ts";
import { EINTR, EIO, Interruption, ShareClient, ShareError } from "./client.ts";

/** A link whose engine end hands every request on the share channel to `serve`. */
const link = (serve: (request: ShareRequest, channel: Channel) => void) => {
  const make = (role: "engine" | "tether", peer: () => Session): Session =>
    new Session(
      {
        write: (bytes) => {
          const copy = bytes.slice();
          setImmediate(() => peer().received(copy));
          return bytes.length;
        },
        end: () => setImmediate(() => peer().ended("closed")),
      },
      role,
    );
  const engine: Session = make("engine", () => tether);
  const tether: Session = make("tether", () => engine);
  engine.onChannel(async (channel) => {
    await channel.control({ serving: true });
    const splitter = new MessageSplitter(MESSAGE_LIMIT);
    try {
      for await (const message of channel)
        if (message.kind === "data")
          for (const bytes of splitter.push(message.bytes)) serve(decodeRequest(bytes), channel);
    } catch {
      // The link was cut by the test.
    }
  });
  return { engine, tether };
};
const target = (text: string) => ({ target: Buffer.from(text) });
const answer = (text: string) => (request: ShareRequest, channel: Channel) =>
  void channel.send(STREAM.stdout, encodeReply(request.id, "readLink", target(text)));
const path = () => ({ path: Buffer.from("x") });
const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "no error",
    (error: unknown) => error,
  );

describe("share client", () => {
  test("a request waits for the endpoint, and one whose answer was lost is asked again of the next", async () => {
    const client = new ShareClient();
    const early = client.call("readLink", 0, path);
    let asked = 0;
    const first = link((request, channel) => {
      asked++;
      if (asked === 1) answer("one")(request, channel);
      else first.engine.close("the endpoint dies");
    });
    client.useSession(first.tether);
    expect((await early).target.toString()).toBe("one");
    const { generation } = client;
    const lost = client.call("readLink", 0, path);
    await first.tether.closed;
    client.useSession(link(answer("two")).tether);
    expect((await lost).target.toString()).toBe("two");
    expect(client.generation).toBe(generation + 1);
    expect(asked).toBe(2);
  });

  test("an error of a request that was repeated says so", async () => {
    const client = new ShareClient();
    const first = link(() => first.engine.close("the endpoint dies"));
    client.useSession(first.tether);
    const work = failure(client.call("unlink", 0, path));
    await first.tether.closed;
    client.useSession(link(({ id }, channel) => void channel.send(STREAM.stdout, encodeFailure(id, 2))).tether);
    expect(await work).toMatchObject({ errno: 2, repeated: true });
    expect(await failure(client.call("unlink", 0, path))).toMatchObject({ errno: 2, repeated: false });
  });

  test("a file server that ends although the link goes on is asked for again", async () => {
    const client = new ShareClient();
    let asked = 0;
    const only = link((request, channel) => {
      asked++;
      if (asked === 1) channel.close({ code: "internal", message: "the file server ended" });
      else answer("again")(request, channel);
    });
    client.useSession(only.tether);
    expect((await client.call("readLink", 0, path)).target.toString()).toBe("again");
  });

  test("while the endpoint is away a process can be killed, and after the limit everybody gets an error until it is back", async () => {
    const client = new ShareClient(50);
    const interruption = new Interruption();
    const killed = failure(client.call("readLink", 0, path, interruption));
    interruption.interrupt();
    expect(await killed).toEqual(new ShareError(EINTR));
    expect(await failure(client.call("readLink", 0, path))).toMatchObject({ errno: EIO });
    expect(await failure(client.call("readLink", 0, path))).toMatchObject({ errno: EIO });
    client.useSession(link(answer("back")).tether);
    while (!client.available) await new Promise((resolve) => setImmediate(resolve));
    expect((await client.call("readLink", 0, path)).target.toString()).toBe("back");
  });
});
