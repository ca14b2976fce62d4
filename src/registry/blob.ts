/** A blob as a stream: verified by its digest while it flows, taken up again where it broke off. */
import { Digester } from "./digest.ts";
import type { Descriptor } from "./manifest.ts";
import { RegistryError } from "./registry-error.ts";

/** Consecutive failures without a single new byte before a download is given up. */
const ATTEMPT_LIMIT = 5;
/** Breaks in one blob, however much came between: bounds what a hostile server can make us do. */
const BREAK_LIMIT = 50;
const FIRST_PAUSE_MILLISECONDS = 250;
/** A connection that sends nothing for this long is taken as broken. */
const SILENCE_LIMIT_MILLISECONDS = 60_000;

export type BlobRequest = (range: string | undefined, signal: AbortSignal) => Promise<Response>;

/**
 * The blob's bytes. The last ones are handed out before the digest is known: the consumer must not commit anything until
 * the iteration has ended. Throws RegistryError, or the signal's reason.
 */
export async function* streamBlob(
  descriptor: Descriptor,
  request: BlobRequest,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const digester = new Digester(descriptor.digest);
  let received = 0;
  let failures = 0;
  for (let breaks = 0; ; breaks++) {
    const before = received;
    try {
      for await (const chunk of readFrom(descriptor, received, request, signal)) {
        if (received + chunk.length > descriptor.size) throw tooLong(descriptor);
        digester.update(chunk);
        received += chunk.length;
        yield chunk;
      }
      if (received === descriptor.size) break;
      throw new RegistryError(
        "unavailable",
        `the registry closed the connection after ${received} of ${descriptor.size} bytes`,
      );
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof RegistryError && error.code !== "unavailable") throw error;
      failures = received > before ? 1 : failures + 1;
      if (failures >= ATTEMPT_LIMIT || breaks >= BREAK_LIMIT) throw error;
      await pause(FIRST_PAUSE_MILLISECONDS * 2 ** (failures - 1), signal);
    }
  }
  if (digester.digest() !== descriptor.digest) {
    throw new RegistryError("invalid", `filesystem layer verification failed for digest ${descriptor.digest}`);
  }
}

const tooLong = (descriptor: Descriptor): RegistryError =>
  new RegistryError("invalid", `the registry sent more than the ${descriptor.size} bytes of ${descriptor.digest}`);

async function* readFrom(
  descriptor: Descriptor,
  offset: number,
  request: BlobRequest,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (offset === descriptor.size && offset > 0) return;
  const silence = new AbortController();
  const response = await request(
    offset === 0 ? undefined : `bytes=${offset}-`,
    AbortSignal.any([signal, silence.signal]),
  );
  let skip = 0;
  if (offset > 0) {
    const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (response.status !== 206) skip = offset;
    else if (Number(start) !== offset) {
      await response.body?.cancel();
      throw new RegistryError(
        "invalid",
        `the registry answered another range of ${descriptor.digest} than was asked for`,
      );
    }
  }
  const reader = (response.body ?? new Blob([]).stream()).getReader();
  let ended = false;
  try {
    for (;;) {
      // The timer runs only while we wait for the registry, never while the consumer takes its time.
      const timer = setTimeout(() => silence.abort(), SILENCE_LIMIT_MILLISECONDS);
      const result = await reader.read().finally(() => clearTimeout(timer));
      if (result.done) {
        ended = true;
        return;
      }
      const fresh = result.value.subarray(Math.min(skip, result.value.length));
      skip -= result.value.length - fresh.length;
      if (fresh.length > 0) yield fresh;
    }
  } finally {
    if (!ended) {
      silence.abort();
      await reader.cancel().catch(() => undefined); // The connection may be gone already: that is what is wanted.
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
