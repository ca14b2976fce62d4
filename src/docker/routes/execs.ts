/** Processes that are started in a running container. */
import { Hono } from "hono";
import type { ExecConfig, StdioStream } from "../../engine/contract.ts";
import { EngineError, type EngineErrorKind, invalid } from "../../engine/errors.ts";
import type { ApiContext, ApiEnvironment, RouterOptions } from "../environment.ts";
import { messageOf } from "../errors.ts";
import { parseDetachKeys } from "../requests/detach-keys.ts";
import { jsonBody } from "../requests/json-body.ts";
import { dimensionQuery } from "../requests/query.ts";
import { hijackResponse, hijackStdio } from "../responses/stdio.ts";
import { stdioFrame } from "../responses/stdio-frame.ts";

interface StartBody {
  Detach?: boolean;
  Tty?: boolean;
  ConsoleSize?: number[];
}

/** Failures of the exec itself, as opposed to those of the program it should run. */
const REFUSED: readonly EngineErrorKind[] = ["not-found", "conflict", "unavailable", "not-implemented"];

export function execRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { execs } = engine;
  /** Detach keys are given at create and used at start; forgotten with the exec, so the oldest go first. */
  const detachKeys = new BoundedMap<string, string>(MAX_REMEMBERED_EXECS);

  app.post("/containers/:reference/exec", async (c) => {
    const config = await jsonBody<ExecConfig>(c, "ExecCreate");
    if (config.Cmd === undefined || config.Cmd.length === 0) throw invalid("no exec command specified");
    if (config.DetachKeys) parseDetachKeys(config.DetachKeys);
    const created = await execs.create(c.req.param("reference"), config);
    if (config.DetachKeys) detachKeys.set(created.Id, config.DetachKeys);
    return c.json(created, 201);
  });

  app.post("/exec/:id/start", async (c) => {
    const id = c.req.param("id");
    const body = await jsonBody<StartBody>(c, "ExecStart");
    const terminal = body.Tty ?? false;
    const consoleSize = terminal && c.get("apiVersion") >= 42 ? parseConsoleSize(body.ConsoleSize) : undefined;
    const options = { terminal, ...(consoleSize === undefined ? {} : { consoleSize }) };
    if (body.Detach === true) {
      await execs.start(id, { detach: true, ...options });
      return c.body(null, 200);
    }
    // Docker's clients take any answer but the hijack for a broken server. So a program that cannot be run is told in
    // the stream, as Docker does; its exit code is in the exec's inspect answer.
    let stream: StdioStream | undefined;
    try {
      stream = await execs.start(id, { detach: false, ...options });
    } catch (error) {
      if (error instanceof EngineError && REFUSED.includes(error.kind)) throw error;
      return hijackMessage(c, `${messageOf(error)}\r\n`, terminal);
    }
    if (stream === undefined) return c.body(null, 200);
    return hijackStdio(c, { stream, input: true, detachKeys: parseDetachKeys(detachKeys.get(id)) });
  });

  app.post("/exec/:id/resize", async (c) => {
    const rows = dimensionQuery(c, "h", "height");
    await execs.resize(c.req.param("id"), rows, dimensionQuery(c, "w", "width"));
    return c.body(null, 200);
  });

  app.get("/exec/:id/json", async (c) => c.json(await execs.inspect(c.req.param("id"))));

  return app;
}

const MAX_REMEMBERED_EXECS = 1024;

class BoundedMap<Key, Value> extends Map<Key, Value> {
  constructor(readonly limit: number) {
    super();
  }

  override set(key: Key, value: Value): this {
    if (this.size >= this.limit) {
      const oldest = this.keys().next();
      if (oldest.done !== true) this.delete(oldest.value);
    }
    return super.set(key, value);
  }
}

/** The document's order: height, width. */
function parseConsoleSize(size: number[] | undefined): { rows: number; columns: number } | undefined {
  if (size === undefined || size.length === 0) return undefined;
  const [rows, columns] = size;
  if (size.length !== 2 || rows === undefined || columns === undefined || rows < 0 || columns < 0) {
    throw invalid('invalid JSON: field "ConsoleSize" must be [height, width]');
  }
  return rows === 0 || columns === 0 ? undefined : { rows, columns };
}

function hijackMessage(c: ApiContext, message: string, terminal: boolean): Response {
  const bytes = new TextEncoder().encode(message);
  c.env.exchange.hijack((raw) => raw.write(terminal ? bytes : stdioFrame(1, bytes)));
  return hijackResponse(c, terminal);
}
