/** Client of the OCI distribution API (which is Docker's registry API, version 2). */
import { basicAuthorization, type Credentials, chooseChallenge, requestToken } from "./authorization.ts";
import { streamBlob } from "./blob.ts";
import { checkDigest, type Digest, digestOf } from "./digest.ts";
import { responseError } from "./error-response.ts";
import {
  ACCEPTED_MANIFESTS,
  chooseManifest,
  type Descriptor,
  type ImageManifest,
  MANIFEST_LIMIT_BYTES,
  type ManifestList,
  type Platform,
  parseManifest,
} from "./manifest.ts";
import { type Push, pushImage } from "./push.ts";
import { DEFAULT_DOMAIN, familiarName, familiarString, type ImageReference, isTag } from "./reference.ts";
import { RegistryError } from "./registry-error.ts";
import { type RepositoryAccess, RepositoryConnection } from "./repository-connection.ts";
import { type SearchResult, searchRegistry } from "./search.ts";
import { checkAllowed, type Endpoint, endpointsOf, type RegistrySettings } from "./settings.ts";
import { readBody, send } from "./transport.ts";

export interface RegistryClientOptions {
  /** Asked at each pull and login, so that a change of settings counts at once. */
  settings: () => RegistrySettings;
  userAgent: string;
}

/** An image that a registry has for a platform. Its blobs are read through it. */
export interface RemoteImage {
  /** Digest of what the reference named (the list's, if it is one): the image's repo digest. */
  digest: Digest;
  manifest: ImageManifest;
  manifestBytes: Uint8Array;
  manifestDigest: Digest;
  /** True when the platform was chosen from a list. */
  fromList: boolean;
  /** The image configuration, verified. */
  config(signal: AbortSignal): Promise<Uint8Array>;
  /** Raw bytes of a layer, verified when the iteration has ended. */
  blob(descriptor: Descriptor, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** What a registry says of a reference without any layer being fetched (docker manifest, the distribution endpoint). */
export interface RemoteDescription {
  descriptor: Descriptor;
  /** One for a single image, all of a list's otherwise. */
  platforms: Platform[];
}

export interface RegistryClient {
  /** Throws RegistryError with dockerd's texts. The reference must have a tag or digest. */
  image(
    reference: ImageReference,
    platform: Platform,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<RemoteImage>;
  /** Every tag of a repository (docker pull --all-tags). */
  tags(reference: ImageReference, credentials: Credentials | undefined, signal: AbortSignal): Promise<string[]>;
  /** What the reference stands for, and for which platforms. */
  describe(
    reference: ImageReference,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<RemoteDescription>;
  /** Uploads what the registry does not have, then the manifest under the reference's tag. Mirrors are not asked. */
  push(
    reference: ImageReference,
    push: Push,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<{ digest: Digest; size: number }>;
  /** Asks a registry's search (of docker.io, or of the registry that `term` begins with). */
  search(
    term: string,
    limit: number,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<SearchResult[]>;
  /** Checks credentials; the identity token, if the registry gives one, replaces the password from now on. */
  login(credentials: Credentials & { serveraddress?: string }): Promise<{ identityToken?: string }>;
}

/** Platform of an image configuration; what it leaves out stays empty. */
function platformOf(config: Uint8Array): Platform {
  try {
    const document = JSON.parse(new TextDecoder().decode(config)) as Record<string, unknown> | null;
    const text = (name: string): string => (typeof document?.[name] === "string" ? String(document[name]) : "");
    const variant = text("variant");
    return { os: text("os"), architecture: text("architecture"), ...(variant === "" ? {} : { variant }) };
  } catch (cause) {
    throw new RegistryError("invalid", "the image configuration is not JSON", { cause });
  }
}

const TAG_PAGE = 1000;
const TAG_PAGE_LIMIT = 20;

function parseTags(bytes: Uint8Array): string[] {
  try {
    const { tags } = JSON.parse(new TextDecoder().decode(bytes)) as { tags?: unknown };
    return Array.isArray(tags) ? tags.filter((tag): tag is string => typeof tag === "string" && isTag(tag)) : [];
  } catch (cause) {
    throw new RegistryError("invalid", "the registry's list of tags is not JSON", { cause });
  }
}

const NOTHING = new AbortController().signal;

export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  /** Tries a registry's endpoints in order: mirrors first, and plain HTTP last. */
  async function atEndpoint<T>(
    reference: ImageReference,
    credentials: Credentials | undefined,
    signal: AbortSignal,
    work: (repository: Repository) => Promise<T>,
    access?: RepositoryAccess,
  ): Promise<T> {
    const settings = options.settings();
    checkAllowed(reference.domain, settings);
    let failure: unknown;
    for (const endpoint of endpointsOf(reference.domain, settings)) {
      if (endpoint.mirror && access !== undefined) continue;
      // A mirror is another party: it gets no credentials.
      const own = endpoint.mirror ? undefined : credentials;
      try {
        const connection = new RepositoryConnection(endpoint, reference, own, settings, options.userAgent, access);
        return await work(new Repository(connection));
      } catch (error) {
        signal.throwIfAborted();
        // Plain HTTP is tried only when TLS got us nowhere; a mirror that fails for any reason is passed over.
        const tryNext = endpoint.mirror || isConnectionFailure(error);
        // Without TLS nobody listens there: then what happened with TLS says more.
        const keep = failure !== undefined && endpoint.url.startsWith("http:") && isRefused(error);
        failure = keep ? failure : error;
        if (!tryNext) throw error;
      }
    }
    throw failure;
  }

  return {
    image: (reference, platform, credentials, signal) =>
      atEndpoint(reference, credentials, signal, (repository) => repository.image(platform, signal)),
    tags: (reference, credentials, signal) =>
      atEndpoint(reference, credentials, signal, (repository) => repository.tags(signal)),
    describe: (reference, credentials, signal) =>
      atEndpoint(reference, credentials, signal, (repository) => repository.describe(signal)),
    push: (reference, push, credentials, signal) =>
      atEndpoint(reference, credentials, signal, ({ connection }) => pushImage(connection, push, signal), {
        actions: "pull,push",
        mountFrom: push.mountFrom,
      }),
    search: (term, limit, credentials, signal) =>
      searchRegistry(term, limit, credentials, options.settings(), options.userAgent, signal),
    login: (credentials) => login(credentials, options.settings(), options.userAgent),
  };
}

const isRefused = (error: unknown): boolean => error instanceof Error && error.message.includes("connection refused");
const isConnectionFailure = (error: unknown): boolean => error instanceof RegistryError && error.code === "unavailable";

/** One repository at one endpoint. */
class Repository {
  constructor(readonly connection: RepositoryConnection) {}

  private get reference(): ImageReference {
    return this.connection.reference;
  }

  async describe(signal: AbortSignal): Promise<RemoteDescription> {
    const { manifest, bytes, digest } = await this.#manifest(
      this.reference.digest ?? this.reference.tag ?? "latest",
      signal,
    );
    const descriptor = { mediaType: manifest.mediaType, digest, size: bytes.length };
    if (manifest.kind === "list") {
      return { descriptor, platforms: manifest.manifests.flatMap(({ platform }) => (platform ? [platform] : [])) };
    }
    return { descriptor, platforms: [platformOf(await this.#small(manifest.config, signal))] };
  }

  async image(platform: Platform, signal: AbortSignal): Promise<RemoteImage> {
    const top = await this.#manifest(this.reference.digest ?? this.reference.tag ?? "latest", signal);
    let chosen = top;
    if (top.manifest.kind === "list") {
      const entry = chooseManifest(top.manifest, platform);
      chosen = await this.#manifest(entry.digest, signal);
    }
    const { manifest, bytes, digest } = chosen;
    if (manifest.kind !== "image") throw new RegistryError("invalid", "invalid manifest: a list inside of a list");
    return {
      digest: top.digest,
      manifest,
      manifestBytes: bytes,
      manifestDigest: digest,
      fromList: chosen !== top,
      config: (configSignal) => this.#small(manifest.config, configSignal),
      blob: (descriptor, blobSignal) =>
        streamBlob(
          descriptor,
          (range, requestSignal) => this.#blob(descriptor.digest, range, requestSignal),
          blobSignal,
        ),
    };
  }

  async tags(signal: AbortSignal): Promise<string[]> {
    const tags: string[] = [];
    let path = `tags/list?n=${TAG_PAGE}`;
    for (let page = 0; page < TAG_PAGE_LIMIT; page++) {
      const response = await this.#get(path, {}, signal);
      if (!response.ok) throw await this.#error(response, "manifest");
      const bytes = await readBody(response, MANIFEST_LIMIT_BYTES, "the list of tags");
      const found = parseTags(bytes);
      tags.push(...found);
      // The next page is a link; only its parameters are taken from the registry, never its host.
      const next = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("link") ?? "")?.[1];
      const query = next === undefined ? null : URL.parse(next, this.connection.endpoint.url);
      if (query === null || found.length === 0) return tags;
      path = `tags/list${query.search}`;
    }
    throw new RegistryError(
      "invalid",
      `repository ${familiarName(this.reference)} has too many tags to pull all of them`,
    );
  }

  async #manifest(
    tagOrDigest: string,
    signal: AbortSignal,
  ): Promise<{ manifest: ImageManifest | ManifestList; bytes: Uint8Array; digest: Digest }> {
    const response = await this.#get(`manifests/${tagOrDigest}`, { Accept: ACCEPTED_MANIFESTS }, signal);
    if (!response.ok) throw await this.#error(response, "manifest");
    const bytes = await readBody(response, MANIFEST_LIMIT_BYTES, "the manifest");
    const byDigest = tagOrDigest.includes(":");
    if (byDigest) checkDigest(bytes, tagOrDigest, "manifest");
    const manifest = parseManifest(bytes, response.headers.get("content-type") ?? "", familiarString(this.reference));
    return { manifest, bytes, digest: byDigest ? tagOrDigest : digestOf(bytes) };
  }

  async #blob(digest: Digest, range: string | undefined, signal: AbortSignal): Promise<Response> {
    const response = await this.#get(`blobs/${digest}`, range === undefined ? {} : { Range: range }, signal);
    if (!response.ok) throw await this.#error(response, "blob");
    return response;
  }

  async #small(descriptor: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    const request = (range: string | undefined, requestSignal: AbortSignal) =>
      this.#blob(descriptor.digest, range, requestSignal);
    for await (const chunk of streamBlob(descriptor, request, signal)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  #get(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    return this.connection.request(path, { headers }, signal);
  }

  #error(response: Response, what: "manifest" | "blob"): Promise<RegistryError> {
    return responseError(response, what, familiarString(this.reference), familiarName(this.reference));
  }
}

/** Docker Hub's address in `docker login` without a server. */
const HUB_SERVER_ADDRESS = /^(https?:\/\/)?(index\.)?docker\.io(\/v1\/?)?$/;

async function login(
  credentials: Credentials & { serveraddress?: string },
  settings: RegistrySettings,
  userAgent: string,
): Promise<{ identityToken?: string }> {
  const address = credentials.serveraddress ?? "";
  const domain =
    address === "" || HUB_SERVER_ADDRESS.test(address)
      ? DEFAULT_DOMAIN
      : (address.replace(/^https?:\/\//, "").split("/")[0] ?? "");
  checkAllowed(domain, settings);
  let failure: unknown;
  for (const endpoint of endpointsOf(domain, settings).filter(({ mirror }) => !mirror)) {
    try {
      return await loginAt(endpoint, credentials, settings, userAgent);
    } catch (error) {
      failure = error;
      if (!isConnectionFailure(error)) throw error;
    }
  }
  throw failure;
}

async function loginAt(
  endpoint: Endpoint,
  credentials: Credentials,
  settings: RegistrySettings,
  userAgent: string,
): Promise<{ identityToken?: string }> {
  const url = `${endpoint.url}/v2/`;
  const attempt = (authorization?: string): Promise<Response> =>
    send(
      url,
      {
        headers: authorization === undefined ? {} : { Authorization: authorization },
        insecure: endpoint.insecure,
        signal: NOTHING,
      },
      settings,
      userAgent,
    );
  const first = await attempt();
  await first.body?.cancel();
  if (first.ok) return {};
  const challenge = first.status === 401 ? chooseChallenge(first) : undefined;
  if (challenge === undefined) {
    throw new RegistryError("unavailable", `Get "${url}": unexpected status ${first.status}: this is not a registry`);
  }
  let identityToken: string | undefined;
  let authorization = basicAuthorization(credentials);
  if (challenge.scheme === "bearer") {
    const scope = challenge.parameters.get("scope");
    const token = await requestToken(challenge, scope, credentials, {
      settings,
      userAgent,
      insecure: endpoint.insecure,
      offline: true,
    });
    authorization = `Bearer ${token.value}`;
    identityToken = token.refreshToken;
  }
  const second = await attempt(authorization);
  await second.body?.cancel();
  if (second.status === 401 || second.status === 403) {
    throw new RegistryError(
      "unauthorized",
      `login attempt to ${url} failed with status: ${second.status} Unauthorized`,
    );
  }
  if (!second.ok)
    throw new RegistryError("unavailable", `login attempt to ${url} failed with status: ${second.status}`);
  return { identityToken };
}
