/**
 * An HTTPS proxy between the driver and a server, for what the server cannot be made to do: faults, cut connections, lost or late
 * answers. It has a certificate of its own. All it knows of vim25 is the name of the called method.
 */
import * as https from "node:https";
import { loadServerCertificate } from "../../src/lab/server/certificate.ts";
import type { VSphereTarget } from "../../src/vsphere/index.ts";

export type Trouble =
  /** Answers with the fault; the server is not asked. `detail` is the XML inside. */
  | { kind: "fault"; fault: string; message: string; detail?: string }
  /** Cuts the connection before the server is asked, or in place of its answer, or in the middle of it. */
  | { kind: "cut"; when: "before" | "instead" | "within" }
  /** The answer comes so much later. */
  | { kind: "late"; milliseconds: number }
  | { kind: "status"; status: number }
  /** Answers with a task that the server does not know, as one that was restarted meanwhile; it is not asked. */
  | { kind: "forgotten task" };

interface Rule {
  method: string;
  trouble: Trouble;
  left: number;
}

export interface FaultProxy {
  target: VSphereTarget;
  /** The next `times` calls of the method get the trouble. */
  trouble(method: string, trouble: Trouble, times?: number): void;
  /** Calls of a method that arrived so far, or of all methods. */
  calls(method?: string): number;
  /** Most calls, long polls aside, that were under way at a time. */
  readonly mostInFlight: number;
  stop(): Promise<void>;
}

const METHOD = /<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)/;

function faultDocument(fault: string, message: string, detail: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>${message}</faultstring>
<detail><${fault}Fault xmlns="urn:vim25" xsi:type="${fault}">${detail}</${fault}Fault></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`;
}

const taskDocument = (method: string): string => `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>
<${method}Response xmlns="urn:vim25"><returnval type="Task">task-forgotten</returnval></${method}Response>
</soapenv:Body></soapenv:Envelope>`;

/** Starts a proxy in front of the target; its certificate is kept in the directory. */
export async function startFaultProxy(target: VSphereTarget, directory: string): Promise<FaultProxy> {
  const { certificatePem, keyPem, fingerprint } = await loadServerCertificate(directory, ["127.0.0.1"]);
  const behind = new URL(target.url);
  const agent = new https.Agent({ keepAlive: true, rejectUnauthorized: false });
  const rules: Rule[] = [];
  const counts = new Map<string, number>();
  let inFlight = 0;
  let mostInFlight = 0;

  function ruleFor(method: string): Trouble | undefined {
    const rule = rules.find((one) => one.left > 0 && (one.method === method || one.method === "*"));
    if (rule) rule.left--;
    return rule?.trouble;
  }

  const ask = (request: { method?: string; url?: string; headers: https.RequestOptions["headers"] }, body: Buffer) =>
    new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: Buffer }>((resolve, reject) => {
      const forward = https.request(
        {
          agent,
          host: behind.hostname,
          port: behind.port,
          method: request.method,
          path: request.url,
          headers: { ...request.headers, host: behind.host, "accept-encoding": "identity" },
        },
        async (response) => {
          const chunks: Buffer[] = [];
          for await (const chunk of response) chunks.push(chunk);
          resolve({ status: response.statusCode ?? 502, headers: response.headers, body: Buffer.concat(chunks) });
        },
      );
      forward.on("error", reject);
      forward.end(body);
    });

  const server = https.createServer({ cert: certificatePem, key: keyPem }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const method = METHOD.exec(body.toString("utf8", 0, 4096))?.[1] ?? request.method ?? "";
    const polls = method === "WaitForUpdatesEx";
    counts.set(method, (counts.get(method) ?? 0) + 1);
    if (!polls) mostInFlight = Math.max(mostInFlight, ++inFlight);
    try {
      const trouble = ruleFor(method);
      if (trouble?.kind === "fault") {
        response.writeHead(500, { "Content-Type": "text/xml" });
        response.end(faultDocument(trouble.fault, trouble.message, trouble.detail ?? ""));
        return;
      }
      if (trouble?.kind === "forgotten task") {
        response.writeHead(200, { "Content-Type": "text/xml" });
        response.end(taskDocument(method));
        return;
      }
      if (trouble?.kind === "status") {
        response.writeHead(trouble.status).end("trouble");
        return;
      }
      if (trouble?.kind === "cut" && trouble.when === "before") {
        request.socket.destroy();
        return;
      }
      const answer = await ask(request, body);
      if (trouble?.kind === "cut") {
        if (trouble.when === "within") {
          response.writeHead(answer.status, { ...answer.headers, "content-length": String(answer.body.length) });
          response.write(answer.body.subarray(0, answer.body.length / 2));
          await Bun.sleep(50);
        }
        request.socket.destroy();
        return;
      }
      if (trouble?.kind === "late") await Bun.sleep(trouble.milliseconds);
      const { "transfer-encoding": _, ...headers } = answer.headers;
      response.writeHead(answer.status, { ...headers, "content-length": String(answer.body.length) });
      response.end(answer.body);
    } catch {
      // The server behind is gone: so is this connection.
      request.socket.destroy();
    } finally {
      if (!polls) inFlight--;
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return {
    target: { ...target, url: `https://127.0.0.1:${port}/sdk`, fingerprint },
    trouble: (method, trouble, times = 1) => rules.push({ method, trouble, left: times }),
    calls: (method) =>
      method === undefined ? [...counts.values()].reduce((a, b) => a + b, 0) : (counts.get(method) ?? 0),
    get mostInFlight() {
      return mostInFlight;
    },
    async stop() {
      agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
