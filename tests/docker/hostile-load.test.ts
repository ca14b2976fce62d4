/** Clients that ask for too much at once: memory stays flat, and others are served meanwhile. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { MAX_CONNECTIONS } from "../../src/docker/http/limits.ts";
import type { ContainerCreateBody } from "../../src/engine/contract.ts";
import { type ServerFixture, startServer } from "./server-fixture.ts";

const MEBIBYTE = 1024 * 1024;
/** Milliseconds; the machine may be busy. */
const PATIENCE = 240_000;
const SHELL = { Image: "shell" } as ContainerCreateBody;
let fixture: ServerFixture;
beforeEach(async () => {
  fixture = await startServer({ validated: false });
});
afterEach(() => fixture.close());

const resident = (): number => {
  Bun.gc(true);
  return process.memoryUsage.rss();
};
const ping = async (): Promise<number> => (await fetch("http://d/_ping", { unix: fixture.socket })).status;

test(
  "10,000 connections that say nothing keep nobody out",
  async () => {
    const before = resident();
    const child = Bun.spawn(["bun", join(import.meta.dir, "connector.ts"), fixture.socket, "10000"], {
      stdin: "pipe",
      stdout: "pipe",
    });
    const lines = child.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("10000 opened\n");
    expect(await ping()).toBe(200);
    expect(await (await fetch("http://d/containers/json", { unix: fixture.socket })).json()).toEqual([]);
    child.stdin.write("\n");
    child.stdin.flush();
    const closed = Number(/^\d+/.exec(String((await lines.next()).value))?.[0]);
    expect(closed).toBeGreaterThanOrEqual(10_000 - MAX_CONNECTIONS);
    expect(resident() - before).toBeLessThan(100 * MEBIBYTE);
    child.kill();
    await child.exited;
  },
  PATIENCE,
);

/** A fortieth of what was sent by hand once; see docs/performance.md. */
const UPLOAD = 256 * MEBIBYTE;

test(
  "an upload of any size takes no memory",
  async () => {
    const { Id } = await fixture.engine.containers.create("big", SHELL);
    const before = resident();
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss());
    }, 50);
    const child = Bun.spawn(
      [
        "sh",
        "-c",
        `head -c ${UPLOAD} /dev/zero | curl -sS --fail -T - --unix-socket '${fixture.socket}' 'http://d/containers/${Id}/archive?path=/'`,
      ],
      { stdout: "ignore" },
    );
    while (fixture.engine.written.length === 0 && child.exitCode === null) {
      expect(await ping()).toBe(200);
      await Bun.sleep(100);
    }
    expect(await child.exited).toBe(0);
    clearInterval(watch);
    expect(fixture.engine.written[0]?.bytes).toBe(UPLOAD);
    expect(most - before).toBeLessThan(100 * MEBIBYTE);
  },
  PATIENCE,
);

test(
  "a client that never reads its events costs no memory, others get theirs",
  async () => {
    const silent = await Bun.connect({ unix: fixture.socket, socket: { data: () => undefined } });
    silent.pause();
    silent.write("GET /events HTTP/1.1\r\nHost: d\r\n\r\n");
    const abort = new AbortController();
    const reader = await fetch("http://d/events", { unix: fixture.socket, signal: abort.signal });
    while (fixture.engine.subscribers < 2) await Bun.sleep(10);
    const wanted = 20_000;
    const before = resident();
    for (let index = 0; index < wanted; index++) fixture.engine.emit("container", "start", "a".repeat(64));
    let received = 0;
    for await (const chunk of reader.body ?? []) {
      for (const byte of chunk) if (byte === 10) received++;
      if (received >= wanted) break;
    }
    expect(received).toBe(wanted);
    expect(await ping()).toBe(200);
    expect(resident() - before).toBeLessThan(100 * MEBIBYTE);
    abort.abort();
    silent.terminate();
  },
  PATIENCE,
);
