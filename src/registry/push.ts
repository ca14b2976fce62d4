/** Uploads to a repository: blobs that it does not have yet (mounted from a neighbour where possible), then the manifest. */
import type { Digest } from "./digest.ts";
import { responseError } from "./error-response.ts";
import { familiarName, familiarString } from "./reference.ts";
import { RegistryError } from "./registry-error.ts";
import type { RepositoryConnection } from "./repository-connection.ts";

export interface PushedBlob {
  digest: Digest;
  /** Bytes. */
  size: number;
  /** The blob in order, in pieces that are each sent as one request. Called again for another attempt. */
  pieces(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

export type BlobOutcome = "exists" | "mounted" | "pushed";

export interface Push {
  /** Layers, lowest first, and the configuration. */
  blobs: readonly PushedBlob[];
  manifest: { mediaType: string; bytes: Uint8Array<ArrayBuffer> };
  /** Other repositories of the registry that may have some of the blobs already. */
  mountFrom: readonly string[];
  /** Bytes of a blob sent so far. */
  sent?(blob: PushedBlob, bytes: number): void;
  done?(blob: PushedBlob, outcome: BlobOutcome, mountedFrom?: string): void;
}

/** Blobs sent at once, as dockerd. */
const UPLOADS_AT_ONCE = 5;
const UPLOAD_ATTEMPTS = 3;
/** For one piece. */
const PIECE_TIME_LIMIT_MILLISECONDS = 15 * 60_000;
/** Repositories that are asked for one blob. */
const MOUNT_ATTEMPTS = 4;

export async function pushImage(
  connection: RepositoryConnection,
  push: Push,
  signal: AbortSignal,
): Promise<{ digest: Digest; size: number }> {
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  // A layer may stand in an image twice.
  const waiting = [...new Map(push.blobs.map((blob) => [blob.digest, blob])).values()];
  const worker = async (): Promise<void> => {
    for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift()) {
      await pushBlob(connection, push, blob, both);
    }
  };
  const workers = Array.from({ length: UPLOADS_AT_ONCE }, () =>
    worker().catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  );
  const results = await Promise.allSettled(workers);
  signal.throwIfAborted();
  if (failed.signal.aborted) throw failed.signal.reason;
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return pushManifest(connection, push, signal);
}

async function pushManifest(
  connection: RepositoryConnection,
  { manifest }: Push,
  signal: AbortSignal,
): Promise<{ digest: Digest; size: number }> {
  const { reference } = connection;
  const response = await connection.request(
    `manifests/${reference.tag ?? "latest"}`,
    { method: "PUT", headers: { "Content-Type": manifest.mediaType }, body: manifest.bytes },
    signal,
  );
  if (!response.ok) throw await refusal(connection, response);
  await response.body?.cancel();
  const digest = `sha256:${new Bun.CryptoHasher("sha256").update(manifest.bytes).digest("hex")}`;
  const answered = response.headers.get("docker-content-digest");
  if (answered !== null && answered !== digest) {
    throw new RegistryError("invalid", `the registry stored the manifest as ${answered}, but it is ${digest}`);
  }
  return { digest, size: manifest.bytes.length };
}

async function pushBlob(
  connection: RepositoryConnection,
  push: Push,
  blob: PushedBlob,
  signal: AbortSignal,
): Promise<void> {
  if (await exists(connection, blob, signal)) {
    push.done?.(blob, "exists");
    return;
  }
  for (let attempt = 1; ; attempt++) {
    try {
      const started = await startUpload(connection, push, blob, signal);
      if ("mountedFrom" in started) {
        push.done?.(blob, "mounted", started.mountedFrom);
        return;
      }
      await upload(connection, push, blob, started.location, signal);
      push.done?.(blob, "pushed");
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryError && error.code === "unavailable") || attempt === UPLOAD_ATTEMPTS) throw error;
    }
  }
}

async function exists(connection: RepositoryConnection, blob: PushedBlob, signal: AbortSignal): Promise<boolean> {
  const response = await connection.request(`blobs/${blob.digest}`, { method: "HEAD" }, signal);
  await response.body?.cancel();
  if (response.ok) return true;
  if (response.status === 404) return false;
  throw await refusal(connection, response);
}

/** Either the blob was mounted, or here is where to send it. */
async function startUpload(
  connection: RepositoryConnection,
  push: Push,
  blob: PushedBlob,
  signal: AbortSignal,
): Promise<{ mountedFrom: string } | { location: URL }> {
  for (const from of push.mountFrom.slice(0, MOUNT_ATTEMPTS)) {
    const query = new URLSearchParams({ mount: blob.digest, from });
    const response = await connection.request(`blobs/uploads/?${query}`, { method: "POST", body: "" }, signal);
    await response.body?.cancel();
    if (response.status === 201) return { mountedFrom: from };
    // A registry that cannot mount opens an ordinary upload instead.
    if (response.status === 202) return { location: locationOf(connection, response) };
    if (response.status !== 404 && response.status !== 401 && response.status !== 403)
      throw await refusal(connection, response);
  }
  const response = await connection.request("blobs/uploads/", { method: "POST", body: "" }, signal);
  if (response.status !== 202) throw await refusal(connection, response);
  await response.body?.cancel();
  return { location: locationOf(connection, response) };
}

function locationOf(connection: RepositoryConnection, response: Response): URL {
  const location = URL.parse(response.headers.get("location") ?? "", response.url || connection.endpoint.url);
  if (location === null || !(location.protocol === "https:" || location.protocol === "http:")) {
    throw new RegistryError("unavailable", "the registry does not say where to upload to (Location)");
  }
  if (location.protocol === "http:" && connection.endpoint.url.startsWith("https:")) {
    // A registry behind a proxy that ends TLS often does not know its own scheme.
    location.protocol = "https:";
  }
  return location;
}

/** A blob of one piece goes in one request (monolithic), a longer one piece by piece (chunked). */
async function upload(
  connection: RepositoryConnection,
  push: Push,
  blob: PushedBlob,
  location: URL,
  signal: AbortSignal,
): Promise<void> {
  let target = location;
  let sent = 0;
  const finish = async (piece: Uint8Array<ArrayBuffer> | undefined): Promise<void> => {
    const url = new URL(target);
    url.searchParams.set("digest", blob.digest);
    const response = await connection.request(
      url,
      {
        method: "PUT",
        headers: { "Content-Type": "application/octet-stream" },
        body: piece ?? new Uint8Array(0),
        timeLimitMilliseconds: PIECE_TIME_LIMIT_MILLISECONDS,
      },
      signal,
    );
    if (response.status !== 201) throw await refusal(connection, response);
    await response.body?.cancel();
  };

  for await (const piece of blob.pieces()) {
    signal.throwIfAborted();
    if (sent === 0 && piece.length === blob.size) {
      await finish(piece);
      push.sent?.(blob, blob.size);
      return;
    }
    const response = await connection.request(
      target,
      {
        method: "PATCH",
        headers: {
          "Content-Type": "application/octet-stream",
          "Content-Range": `${sent}-${sent + piece.length - 1}`,
        },
        body: piece,
        timeLimitMilliseconds: PIECE_TIME_LIMIT_MILLISECONDS,
      },
      signal,
    );
    if (response.status !== 202) throw await refusal(connection, response);
    await response.body?.cancel();
    target = locationOf(connection, response);
    sent += piece.length;
    push.sent?.(blob, sent);
  }
  await finish(undefined);
}

async function refusal(connection: RepositoryConnection, response: Response): Promise<RegistryError> {
  const { reference } = connection;
  if (response.status === 401) {
    await response.body?.cancel();
    return new RegistryError("unauthorized", "unauthorized: authentication required");
  }
  if (response.status === 403) {
    await response.body?.cancel();
    return new RegistryError("unauthorized", "denied: requested access to the resource is denied");
  }
  return responseError(response, "blob", familiarString(reference), familiarName(reference));
}
