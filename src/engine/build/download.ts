/** Files from web servers, for ADD and remote contexts. Bounded in size and in patience; nothing but http and https. */
import { EngineError, invalid } from "../errors.ts";
import { DOWNLOAD_IDLE_TIMEOUT, DOWNLOAD_LIMIT } from "./limits.ts";

export const isUrl = (text: string): boolean => /^https?:\/\//i.test(text);

export const isRepository = (text: string): boolean =>
  /^(git@|git:\/\/|ssh:\/\/)/.test(text) ||
  (isUrl(text) && /\.git(?:[#?].*)?$/.test(text)) ||
  /^github\.com\//.test(text);

export interface Download {
  /** From the address or the answer's headers. */
  name: string | undefined;
  /** Nanoseconds since the epoch; 0 when the server does not tell. */
  modified: bigint;
  contentType: string;
  body: AsyncIterable<Uint8Array>;
}

/** Throws EngineError with the server's answer. */
export async function download(url: string, signal: AbortSignal): Promise<Download> {
  let address: URL;
  try {
    address = new URL(url);
  } catch (error) {
    throw error instanceof TypeError ? invalid(`invalid URL: ${url}`) : error;
  }
  const idle = new AbortController();
  const patience = setTimeout(() => idle.abort(), DOWNLOAD_IDLE_TIMEOUT);
  let response: Response;
  try {
    response = await fetch(address, {
      signal: AbortSignal.any([signal, idle.signal]),
      redirect: "follow",
      // What is stored is what the server has, not what a transfer encoding makes of it.
      headers: { "accept-encoding": "identity" },
      decompress: false,
    });
  } catch (error) {
    clearTimeout(patience);
    signal.throwIfAborted();
    const reason = idle.signal.aborted ? "no answer in time" : error instanceof Error ? error.message : String(error);
    throw new EngineError("internal", `failed to GET ${address.href}: ${reason}`, { cause: error });
  }
  if (!response.ok) {
    clearTimeout(patience);
    await response.body?.cancel();
    throw new EngineError(
      "internal",
      `failed to GET ${address.href} with status ${response.status} ${response.statusText}`,
    );
  }
  return {
    name: fileName(address, response.headers.get("content-disposition")),
    modified: modifiedTime(response.headers.get("last-modified")),
    contentType: response.headers.get("content-type") ?? "",
    body: bounded(address, response, { signal, idle, patience }),
  };
}

async function* bounded(
  address: URL,
  response: Response,
  { signal, idle, patience }: { signal: AbortSignal; idle: AbortController; patience: ReturnType<typeof setTimeout> },
): AsyncGenerator<Uint8Array> {
  let length = 0;
  let timer = patience;
  try {
    for await (const bytes of response.body ?? []) {
      clearTimeout(timer);
      length += bytes.length;
      if (length > DOWNLOAD_LIMIT)
        throw invalid(`${address.href} is longer than the ${DOWNLOAD_LIMIT} bytes that a build may download`);
      yield bytes;
      timer = setTimeout(() => idle.abort(), DOWNLOAD_IDLE_TIMEOUT);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof EngineError) throw error;
    const reason = idle.signal.aborted
      ? "the server has stopped sending"
      : error instanceof Error
        ? error.message
        : error;
    throw new EngineError("internal", `download of ${address.href} failed: ${reason}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function fileName(address: URL, disposition: string | null): string | undefined {
  const last = safeName(decoded(address.pathname.slice(address.pathname.lastIndexOf("/") + 1)));
  if (last !== undefined) return last;
  const [, quoted, plain] = /\bfilename=(?:"([^"]*)"|([^;\s]+))/i.exec(disposition ?? "") ?? [];
  const named = quoted ?? plain;
  return named === undefined || named.endsWith("/") ? undefined : safeName(named.slice(named.lastIndexOf("/") + 1));
}

/** The server chooses it: it must name one file of one directory. */
const safeName = (name: string): string | undefined =>
  name === "" || name === "." || name === ".." || /[/\0]/.test(name) ? undefined : name;

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return text;
    throw error;
  }
}

function modifiedTime(text: string | null): bigint {
  const milliseconds = Date.parse(text ?? "");
  return Number.isFinite(milliseconds) && milliseconds > 0 ? BigInt(milliseconds) * 1_000_000n : 0n;
}
