/** Containers: attach, logs, stats, wait. Their answers last as long as the container or the client. */
import { Hono } from "hono";
import type { LogEntry, LogOptions, WaitCondition } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import type { ApiContext, ApiEnvironment, RouterOptions } from "../environment.ts";
import { messageOf } from "../errors.ts";
import { parseDetachKeys } from "../requests/detach-keys.ts";
import { booleanQuery, textQuery, timestampQuery } from "../requests/query.ts";
import { formatLogTime } from "../requests/timestamp.ts";
import { hijackStdio, type StdioSession, webSocketStdio } from "../responses/stdio.ts";
import { stdioContentType, stdioFrame } from "../responses/stdio-frame.ts";
import { jsonLine, streamed } from "../responses/streaming.ts";
import { acceptWebSocket } from "../websocket/handshake.ts";

const WAIT_CONDITIONS: readonly WaitCondition[] = ["not-running", "next-exit", "removed"];
/** From this version on the head of a wait answer comes at once and the condition can be chosen. */
const WAIT_CONDITION_SINCE = 30;

const encoder = new TextEncoder();

export function containerStreamRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { containers } = engine;

  async function attach(c: ApiContext, reference: string): Promise<StdioSession> {
    const detachKeys = parseDetachKeys(textQuery(c, "detachKeys"));
    const options = {
      stdin: booleanQuery(c, "stdin"),
      stdout: booleanQuery(c, "stdout"),
      stderr: booleanQuery(c, "stderr"),
      stream: booleanQuery(c, "stream"),
      logs: booleanQuery(c, "logs"),
    };
    const stream = await containers.attach(reference, options);
    return { stream, input: options.stdin && options.stream, detachKeys };
  }

  app.post("/containers/:reference/attach", async (c) => hijackStdio(c, await attach(c, c.req.param("reference"))));

  app.get("/containers/:reference/attach/ws", async (c) => {
    const accept = acceptWebSocket(c.req.raw.headers);
    return webSocketStdio(c, accept, await attach(c, c.req.param("reference")));
  });

  app.get("/containers/:reference/logs", async (c) => {
    const options = logOptions(c);
    const withTime = booleanQuery(c, "timestamps");
    const { terminal, attributes = {}, entries } = await containers.logs(c.req.param("reference"), options);
    const details = booleanQuery(c, "details") ? encoder.encode(`${attributeList(attributes)} `) : undefined;
    return streamed(logChunks(entries, { terminal, withTime, details }), {
      "content-type": stdioContentType(terminal, c.get("apiVersion")),
    });
  });

  app.get("/containers/:reference/stats", async (c) => {
    const stream = booleanQuery(c, "stream", true);
    const oneShot = c.get("apiVersion") >= 41 && booleanQuery(c, "one-shot");
    if (oneShot && stream) throw invalid("cannot have stream=true and one-shot=true");
    const samples = containers.stats(c.req.param("reference"), { stream, oneShot, signal: c.req.raw.signal });
    const iterator = samples[Symbol.asyncIterator]();
    // The first sample decides whether there is an answer at all: an unknown container must be a 404.
    const first = await iterator.next();
    if (first.done === true) return c.json({});
    if (!stream) {
      await iterator.return?.();
      return c.json(first.value);
    }
    async function* lines(sample: Record<string, unknown>): AsyncGenerator<Uint8Array> {
      try {
        yield jsonLine(sample);
        for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
          yield jsonLine(next.value);
        }
      } finally {
        await iterator.return?.();
      }
    }
    return streamed(lines(first.value), { "content-type": "application/json" });
  });

  app.post("/containers/:reference/wait", async (c) => {
    const immediateHead = c.get("apiVersion") >= WAIT_CONDITION_SINCE;
    const asked = immediateHead ? (textQuery(c, "condition") ?? "not-running") : "not-running";
    const condition = WAIT_CONDITIONS.find((known) => known === asked);
    if (condition === undefined) throw invalid(`invalid condition: "${asked}"`);
    const { result } = await containers.wait(c.req.param("reference"), condition, c.req.raw.signal);
    if (!immediateHead) return c.json(await result);
    async function* answer(): AsyncGenerator<Uint8Array> {
      yield jsonLine(await waitResult(result));
    }
    // The head goes out now: the client starts the container only after it.
    return streamed(answer(), { "content-type": "application/json" });
  });

  return app;
}

async function waitResult(result: Promise<{ StatusCode: number; Error?: { Message: string } }>): Promise<unknown> {
  try {
    return await result;
  } catch (error) {
    return { StatusCode: -1, Error: { Message: messageOf(error) } };
  }
}

function logOptions(c: ApiContext): LogOptions {
  const stdout = booleanQuery(c, "stdout");
  const stderr = booleanQuery(c, "stderr");
  if (!stdout && !stderr) {
    throw invalid("Bad parameters: you must choose at least one stream");
  }
  if (textQuery(c, "format") !== undefined) throw invalid("unsupported log format");
  const since = timestampQuery(c, "since");
  const until = timestampQuery(c, "until");
  return {
    stdout,
    stderr,
    follow: booleanQuery(c, "follow"),
    tail: tailLines(textQuery(c, "tail")),
    signal: c.req.raw.signal,
    ...(since === undefined ? {} : { since }),
    ...(until === undefined || until === 0n ? {} : { until }),
  };
}

/** Docker's rule: whatever is not a number of lines means all of them. */
function tailLines(text: string | undefined): number {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : -1;
}

/** `a=b,c=d`, in order of the names and escaped as in a query. */
function attributeList(attributes: Record<string, string>): string {
  return Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => pair.map((text) => encodeURIComponent(text).replaceAll("%20", "+")).join("="))
    .join(",");
}

async function* logChunks(
  entries: AsyncIterable<LogEntry>,
  format: { terminal: boolean; withTime: boolean; details: Uint8Array | undefined },
): AsyncGenerator<Uint8Array> {
  for await (const { stream, timeNanoseconds, bytes } of entries) {
    const parts: Uint8Array[] = [];
    if (format.withTime) parts.push(encoder.encode(`${formatLogTime(timeNanoseconds)} `));
    if (format.details !== undefined) parts.push(format.details);
    parts.push(bytes);
    yield format.terminal ? Buffer.concat(parts) : stdioFrame(stream, ...parts);
  }
}
