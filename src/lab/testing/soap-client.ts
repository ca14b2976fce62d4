import { request as httpsRequest } from "node:https";
import {
  decodeResponse,
  encodeRequest,
  type MethodName,
  type Parameters,
  type Result,
} from "../../vsphere/vim25/index.ts";
import type { Reference } from "../model/data.ts";

export class SoapFault extends Error {
  constructor(
    readonly fault: string,
    message: string,
    readonly detail: Record<string, unknown>,
  ) {
    super(`${fault}: ${message}`);
  }
}

/** The least client that tests need: one session over keep-alive connections. */
export class SoapClient {
  cookie: string | undefined;

  constructor(
    readonly url: string,
    readonly certificatePem: string,
    readonly version = "8.0.2.0",
    /** `propertyCollector` of a vCenter. */
    readonly propertyCollector = "ha-property-collector",
  ) {}

  async call<M extends MethodName>(name: M, target: Reference, parameters: Parameters<M>): Promise<Result<M>> {
    const body = encodeRequest(name, target as never, parameters, { version: this.version });
    const { text } = await this.post(body);
    const answer = decodeResponse(name, text);
    if (answer.ok) return answer.result;
    throw new SoapFault(answer.fault.fault, answer.fault.message, answer.fault.detail);
  }

  post(body: string): Promise<{ status: number; text: string }> {
    return this.http("POST", "/sdk", body, { SOAPAction: `urn:vim25/${this.version}`, "Content-Type": "text/xml" });
  }

  async http(
    method: string,
    path: string,
    body: string | undefined,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; text: string; headers: NodeJS.Dict<string | string[]> }> {
    const url = new URL(path, this.url);
    const { promise, resolve, reject } = Promise.withResolvers<{
      status: number;
      text: string;
      headers: NodeJS.Dict<string | string[]>;
    }>();
    const request = httpsRequest(
      {
        host: url.hostname,
        port: url.port,
        // Not url.pathname: tests send paths that a URL parser would tidy up.
        path,
        method,
        ca: this.certificatePem,
        headers: {
          ...(this.cookie === undefined ? {} : { Cookie: this.cookie }),
          ...(body === undefined ? {} : { "Content-Length": String(Buffer.byteLength(body)) }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const cookie = response.headers["set-cookie"]?.[0];
          if (cookie) this.cookie = cookie.split(";")[0];
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(chunks).toString("utf8"),
            headers: response.headers,
          });
        });
      },
    );
    request.on("error", reject);
    request.end(body);
    return promise;
  }

  /** One property, by Fetch. */
  async get<T>(object: Reference, path: string): Promise<T> {
    return (await this.call("Fetch", object as never, { prop: path })) as T;
  }

  /** Waits for a task with the property collector and gives its result; throws what it failed with. */
  async task(reference: Reference): Promise<unknown> {
    const collector = { type: "PropertyCollector", value: this.propertyCollector } as const;
    const own = (await this.call("CreatePropertyCollector", collector, {})) as typeof collector;
    try {
      const spec = {
        propSet: [{ type: "Task", pathSet: ["info"] }],
        objectSet: [{ obj: reference }],
      };
      await this.call("CreateFilter", own, { spec, partialUpdates: false });
      for (let version = ""; ; ) {
        const update = await this.call("WaitForUpdatesEx", own, { version });
        version = update?.version ?? version;
        for (const object of update?.filterSet?.[0]?.objectSet ?? []) {
          const info = object.changeSet?.[0]?.val as unknown as {
            state: string;
            result?: unknown;
            error?: { fault: { _type: string }; localizedMessage?: string };
          };
          if (info.state === "success") return info.result;
          if (info.state === "error") {
            const fault = info.error?.fault as unknown as Record<string, unknown>;
            throw new SoapFault(String(fault._type), info.error?.localizedMessage ?? "", fault);
          }
        }
      }
    } finally {
      await this.call("DestroyPropertyCollector", own, {});
    }
  }
}
