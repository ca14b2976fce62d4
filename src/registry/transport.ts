/** HTTP to registries: proxies, certificates, redirects that do not carry credentials away, and time limits. */
import { RegistryError } from "./registry-error.ts";
import { proxyFor, type RegistrySettings, tlsOptions } from "./settings.ts";

export interface RegistryRequest {
  method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  headers?: Record<string, string>;
  body?: string | Uint8Array<ArrayBuffer>;
  /** Until the response's head has come; a body to send counts. */
  timeLimitMilliseconds?: number;
  signal?: AbortSignal;
  /** The registry is one of the insecure ones: no certificate check, and redirects to plain HTTP are followed. */
  insecure: boolean;
}

/** Until the response's head has come, of requests that send little. */
const HEAD_TIME_LIMIT_MILLISECONDS = 60_000;
const REDIRECT_LIMIT = 6;

/** A request with its redirects. Rejects with RegistryError `unavailable` in dockerd's words when nothing can be reached. */
export async function send(
  url: string,
  request: RegistryRequest,
  settings: RegistrySettings,
  userAgent: string,
): Promise<Response> {
  let target = new URL(url);
  const headers = new Headers({ "User-Agent": userAgent, "Accept-Encoding": "identity", ...request.headers });
  for (let redirects = 0; redirects <= REDIRECT_LIMIT; redirects++) {
    const response = await sendOnce(target, request, headers, settings);
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
    await response.body?.cancel();
    const next = URL.parse(location, target.href);
    if (next === null || !(next.protocol === "https:" || next.protocol === "http:")) {
      throw new RegistryError("unavailable", `${describe(request, target)}: bad redirect to ${location.slice(0, 200)}`);
    }
    if (next.protocol === "http:" && target.protocol === "https:" && !request.insecure) {
      throw new RegistryError("unavailable", `${describe(request, target)}: redirect from https to http refused`);
    }
    // Storage behind a registry is another party, and often refuses requests with a foreign Authorization.
    if (next.origin !== target.origin) headers.delete("Authorization");
    target = next;
  }
  throw new RegistryError("unavailable", `${describe(request, target)}: stopped after ${REDIRECT_LIMIT} redirects`);
}

const describe = (request: RegistryRequest, url: URL): string => {
  const method = request.method ?? "GET";
  return `${method.charAt(0)}${method.slice(1).toLowerCase()} "${url.origin}${url.pathname}"`;
};

async function sendOnce(
  url: URL,
  request: RegistryRequest,
  headers: Headers,
  settings: RegistrySettings,
): Promise<Response> {
  const timeLimit = new AbortController();
  const timer = setTimeout(() => timeLimit.abort(), request.timeLimitMilliseconds ?? HEAD_TIME_LIMIT_MILLISECONDS);
  const tls = url.protocol === "https:" ? tlsOptions(url.host, request.insecure, settings) : undefined;
  try {
    return await fetch(url.href, {
      method: request.method ?? "GET",
      headers,
      body: request.body,
      redirect: "manual",
      // Layers are stored compressed: a body must arrive as it is, whatever Content-Encoding says of it.
      decompress: false,
      timeout: false,
      proxy: proxyFor(url, settings),
      tls,
      signal: request.signal === undefined ? timeLimit.signal : AbortSignal.any([timeLimit.signal, request.signal]),
    } as BunFetchRequestInit & { timeout: boolean });
  } catch (cause) {
    request.signal?.throwIfAborted();
    const reason = timeLimit.signal.aborted ? "no answer in time" : connectionReason(url, cause);
    throw new RegistryError("unavailable", `${describe(request, url)}: ${reason}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** dockerd shows Go's words for these. */
function connectionReason(url: URL, cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const address = `${url.hostname}:${url.port || (url.protocol === "https:" ? "443" : "80")}`;
  switch (code) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_NONAME":
      return `dial tcp: lookup ${url.hostname}: no such host`;
    case "ECONNREFUSED":
    case "ConnectionRefused":
      return `dial tcp ${address}: connect: connection refused`;
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
      return "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `tls: failed to verify certificate: x509: certificate is not valid for ${url.hostname}`;
    case "CERT_HAS_EXPIRED":
      return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";
    default:
      return cause instanceof Error ? cause.message : String(cause);
  }
}

/** A response's whole body, at most `limit` bytes. Throws RegistryError `invalid` when it is longer. */
export async function readBody(response: Response, limit: number, what: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > limit) throw new RegistryError("invalid", `${what} is larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
