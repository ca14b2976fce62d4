/**
 * Stands between Docker clients and an endpoint, passes every byte on as it is, and checks every response against the
 * API document: status, headers, content type, framing and body. A response may end early only when its client went away
 * first, or when a test had announced that it kills the endpoint. Also a program, for clients of another process:
 *
 *     bun tests/docker/validating-proxy.ts SOCKET REPORT KILLS unix:///path | tls://HOST:PORT CERTDIR
 *
 * KILLS is a file that a test touches right before it kills the endpoint.
 */
import { appendFileSync, readFileSync, rmSync, statSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import tls from "node:tls";
import { CutOff, HttpTap } from "./http-tap.ts";
import { ResponseValidator } from "./validate.ts";

/** Of one body. Longer ones (archives) are passed and not looked at. */
const BODY_LIMIT = 16 * 1024 * 1024;
/** A killed process's connections end at once; later ends have another cause. */
const KILL_COUNTS_MILLISECONDS = 10_000;

export interface ValidatingProxy {
  /** What was wrong so far. */
  problems: string[];
  /** Responses checked. */
  checked(): number;
  close(): Promise<void>;
}

interface PendingRequest {
  method: string;
  target: string;
}

export async function startValidatingProxy(options: {
  socket: string;
  connect: () => net.Socket;
  onProblem?: (problem: string) => void;
  /** When a test announced last that it kills the endpoint; milliseconds since the epoch. */
  killedAt?: () => number;
}): Promise<ValidatingProxy> {
  const validator = await ResponseValidator.load();
  const problems: string[] = [];
  const sockets = new Set<net.Socket>();
  let checked = 0;
  const report = (problem: string): void => {
    if (problems.includes(problem)) return;
    problems.push(problem);
    options.onProblem?.(problem);
  };

  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    const upstream = options.connect();
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    }
    const opened = Date.now();
    let clientLeft = false;
    for (const event of ["end", "error", "close"]) client.on(event, () => (clientLeft = true));
    const mayBeCutOff = (): boolean => {
      const killed = options.killedAt?.() ?? 0;
      return clientLeft || (killed >= opened && Date.now() - killed <= KILL_COUNTS_MILLISECONDS);
    };
    const taps = tapConnection(validator, report, () => checked++, mayBeCutOff);
    client.on("data", (bytes: Buffer) => taps.request(bytes));
    upstream.on("data", (bytes: Buffer) => taps.response(bytes));
    upstream.on("end", () => taps.responseEnd());
    client.pipe(upstream);
    upstream.pipe(client);
    client.on("error", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.end());
  });
  rmSync(options.socket, { force: true });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(options.socket, resolve));
  return {
    problems,
    checked: () => checked,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

function tapConnection(
  validator: ResponseValidator,
  report: (problem: string) => void,
  counted: () => void,
  mayBeCutOff: () => boolean,
) {
  const pending: PendingRequest[] = [];
  let broken = false;
  const requests = new HttpTap(
    {
      head({ startLine }) {
        const [method = "", target = ""] = startLine.split(" ");
        pending.push({ method, target });
        return "by-headers";
      },
      body: () => undefined,
      end: () => undefined,
    },
    false,
  );

  let current: { request: PendingRequest; status: number; headers: Map<string, string> } | undefined;
  let body: Uint8Array[] = [];
  let length = 0;
  const responses = new HttpTap(
    {
      head({ startLine, headers }) {
        const status = Number(startLine.split(" ")[1]);
        if (status === 100) return "none";
        const request = pending.shift() ?? { method: "?", target: "?" };
        current = { request, status, headers };
        body = [];
        length = 0;
        const framed = headers.has("content-length") || headers.has("transfer-encoding");
        if (status === 101 || (status === 200 && !framed && request.method === "POST")) {
          requests.becomeRaw();
          check(undefined);
          return "raw";
        }
        return request.method === "HEAD" || status === 204 || status === 304 ? "none" : "by-headers";
      },
      body(bytes) {
        length += bytes.length;
        if (length <= BODY_LIMIT) body.push(Buffer.from(bytes));
      },
      end() {
        check(length <= BODY_LIMIT ? Buffer.concat(body) : undefined);
      },
    },
    true,
  );
  const check = (bytes: Uint8Array | undefined): void => {
    if (current === undefined) return; // 100 Continue
    const { request, status, headers } = current;
    current = undefined;
    counted();
    const found = validator.check({ method: request.method, target: request.target, status, headers, body: bytes });
    for (const problem of found) report(problem);
  };
  const guarded = (work: () => void): void => {
    if (broken) return;
    try {
      work();
    } catch (error) {
      broken = true;
      if (error instanceof CutOff && mayBeCutOff()) return;
      const { method, target } = current?.request ?? pending.at(-1) ?? { method: "?", target: "?" };
      report(`${method} ${target}: ${error instanceof Error ? error.message : error}`);
    }
  };
  return {
    request: (bytes: Uint8Array) => guarded(() => requests.feed(bytes)),
    response: (bytes: Uint8Array) => guarded(() => responses.feed(bytes)),
    responseEnd: () => guarded(() => responses.close()),
  };
}

if (import.meta.main) {
  const [socket, reportFile, killsFile, endpoint = "", certificates = ""] = process.argv.slice(2);
  if (socket === undefined || reportFile === undefined || killsFile === undefined)
    throw new Error("usage: validating-proxy SOCKET REPORT KILLS ENDPOINT [CERTDIR]");
  const url = new URL(endpoint);
  const pem = (name: string): Buffer => readFileSync(join(certificates, name));
  const connect =
    url.protocol === "unix:"
      ? () => net.connect({ path: url.pathname, allowHalfOpen: true })
      : () => {
          const authority = { ca: pem("ca.pem"), cert: pem("cert.pem"), key: pem("key.pem") };
          return tls.connect({
            host: url.hostname,
            port: Number(url.port),
            allowHalfOpen: true,
            ...authority,
          } as tls.ConnectionOptions);
        };
  appendFileSync(reportFile, "");
  await startValidatingProxy({
    socket,
    connect,
    onProblem: (problem) => appendFileSync(reportFile, `${problem}\n`),
    killedAt: () => statSync(killsFile, { throwIfNoEntry: false })?.mtimeMs ?? 0,
  });
}
