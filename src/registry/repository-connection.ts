/** Requests to one repository at one endpoint, with the authorization that the registry asks for. */
import { Authorization, type Credentials } from "./authorization.ts";
import type { ImageReference } from "./reference.ts";
import type { Endpoint, RegistrySettings } from "./settings.ts";
import { type RegistryRequest, send } from "./transport.ts";

/** Once to learn what is asked for, once more for a token that ended early. */
const ATTEMPTS = 3;

export interface RepositoryAccess {
  actions: "pull" | "pull,push";
  /** Paths of other repositories of the same registry that blobs are mounted from. */
  mountFrom?: readonly string[];
}

export type RepositoryRequest = Pick<RegistryRequest, "method" | "headers" | "body" | "timeLimitMilliseconds">;

export class RepositoryConnection {
  readonly #authorization: Authorization;

  constructor(
    readonly endpoint: Endpoint,
    readonly reference: ImageReference,
    credentials: Credentials | undefined,
    private readonly settings: RegistrySettings,
    private readonly userAgent: string,
    access: RepositoryAccess = { actions: "pull" },
  ) {
    const scopes = [
      `repository:${reference.path}:${access.actions}`,
      ...(access.mountFrom ?? []).map((path) => `repository:${path}:pull`),
    ];
    this.#authorization = new Authorization(credentials, scopes.join(" "), settings, userAgent, endpoint.insecure, {
      ownScope: access.actions !== "pull",
    });
  }

  /** @param target path below `/v2/<repository>/`, or a whole URL that the registry gave (an upload's location) */
  async request(target: string | URL, request: RepositoryRequest, signal: AbortSignal): Promise<Response> {
    const base = `${this.endpoint.url}/v2/${this.reference.path}/`;
    const url = typeof target === "string" ? new URL(`${base}${target}`) : target;
    // Storage behind a registry is another party.
    const foreign = url.origin !== new URL(this.endpoint.url).origin;
    for (let attempt = 1; ; attempt++) {
      const authorization = foreign ? undefined : await this.#authorization.header(signal);
      const headers: Record<string, string> = { ...request.headers };
      if (authorization !== undefined) headers.Authorization = authorization;
      const response = await send(
        url.href,
        { ...request, headers, insecure: this.endpoint.insecure, signal },
        this.settings,
        this.userAgent,
      );
      if (response.status !== 401 || attempt >= ATTEMPTS || foreign || !this.#authorization.challenged(response))
        return response;
      await response.body?.cancel();
    }
  }
}
