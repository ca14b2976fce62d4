/** Credentials and tokens for one repository of one registry (the distribution project's token and OAuth2 flows). */
import { type Challenge, parseChallenges } from "./challenge.ts";
import { RegistryError } from "./registry-error.ts";
import type { RegistrySettings } from "./settings.ts";
import { readBody, send } from "./transport.ts";

export interface Credentials {
  username?: string;
  password?: string;
  /** An OAuth2 refresh token that stands for the password. */
  identitytoken?: string;
  /** A bearer token to be sent as it is. */
  registrytoken?: string;
}

export interface Token {
  value: string;
  /** A refresh token, when one was asked for and given. */
  refreshToken?: string;
  /** Milliseconds since the epoch. */
  expiresAt: number;
}

const TOKEN_RESPONSE_LIMIT = 1024 * 1024;
/** The least and the default life of a token, by the specification. */
const MINIMUM_TOKEN_SECONDS = 60;
/** A token is renewed this long before its end. */
const TOKEN_LEEWAY_MILLISECONDS = 10_000;
const CLIENT_ID = "docker";

export const basicAuthorization = (credentials: Credentials): string =>
  `Basic ${Buffer.from(`${credentials.username ?? ""}:${credentials.password ?? ""}`).toString("base64")}`;

/** Keeps what a registry asked for, and the tokens it was answered with. One object per pull: nothing is shared between users. */
export class Authorization {
  readonly #tokens = new Map<string, Token>();
  #challenge: Challenge | undefined;

  constructor(
    private readonly credentials: Credentials | undefined,
    private readonly scope: string,
    private readonly settings: RegistrySettings,
    private readonly userAgent: string,
    private readonly insecure: boolean,
    /** `ownScope`: ask for our scope whatever the registry names (a push needs more than its first request does). */
    private readonly options: { ownScope: boolean } = { ownScope: false },
  ) {}

  /** The Authorization header for the next request; none before the registry has asked. */
  async header(signal?: AbortSignal): Promise<string | undefined> {
    if (this.credentials?.registrytoken) return `Bearer ${this.credentials.registrytoken}`;
    if (this.#challenge === undefined) return undefined;
    if (this.#challenge.scheme === "basic") {
      return this.credentials?.username ? basicAuthorization(this.credentials) : undefined;
    }
    const asked = this.#challenge.parameters.get("scope");
    const scope = this.options.ownScope ? this.scope : (asked ?? this.scope);
    const known = this.#tokens.get(scope);
    if (known !== undefined && known.expiresAt - TOKEN_LEEWAY_MILLISECONDS > Date.now()) return `Bearer ${known.value}`;
    const token = await requestToken(this.#challenge, scope, this.credentials, {
      settings: this.settings,
      userAgent: this.userAgent,
      insecure: this.insecure,
      signal,
    });
    this.#tokens.set(scope, token);
    return `Bearer ${token.value}`;
  }

  /** After a 401: takes in what the registry asks for. False when there is nothing (more) to try. */
  challenged(response: Response): boolean {
    const challenge = chooseChallenge(response);
    if (challenge === undefined || this.credentials?.registrytoken) return false;
    if (challenge.scheme === "basic" && !this.credentials?.username) return false;
    this.#challenge = challenge;
    this.#tokens.clear();
    return true;
  }
}

export function chooseChallenge(response: Response): Challenge | undefined {
  const challenges = parseChallenges(response.headers.get("www-authenticate") ?? "");
  return challenges.find(({ scheme }) => scheme === "bearer") ?? challenges.find(({ scheme }) => scheme === "basic");
}

/** Asks the token server that a challenge names. `offline` asks for a refresh token too (docker login). */
export async function requestToken(
  challenge: Challenge,
  scope: string | undefined,
  credentials: Credentials | undefined,
  options: {
    settings: RegistrySettings;
    userAgent: string;
    insecure: boolean;
    signal?: AbortSignal;
    offline?: boolean;
  },
): Promise<Token> {
  const realm = URL.parse(challenge.parameters.get("realm") ?? "");
  if (realm === null || !(realm.protocol === "https:" || realm.protocol === "http:")) {
    throw new RegistryError("unavailable", "the registry names no usable token server (realm)");
  }
  if (realm.protocol === "http:" && !options.insecure && credentials !== undefined) {
    throw new RegistryError("unavailable", `refusing to send credentials to ${realm.origin} over plain HTTP`);
  }
  const service = challenge.parameters.get("service");
  let response: Response;
  if (credentials?.identitytoken) {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: credentials.identitytoken,
      client_id: CLIENT_ID,
      ...(service === undefined ? {} : { service }),
      ...(scope === undefined ? {} : { scope }),
    });
    response = await send(
      realm.href,
      {
        method: "POST",
        body: form.toString(),
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
        insecure: options.insecure,
        signal: options.signal,
      },
      options.settings,
      options.userAgent,
    );
  } else {
    if (service !== undefined) realm.searchParams.set("service", service);
    if (scope !== undefined) for (const part of scope.split(" ")) realm.searchParams.append("scope", part);
    if (credentials?.username) realm.searchParams.set("account", credentials.username);
    if (options.offline) {
      realm.searchParams.set("offline_token", "true");
      realm.searchParams.set("client_id", CLIENT_ID);
    }
    const headers: Record<string, string> = credentials?.username
      ? { Authorization: basicAuthorization(credentials) }
      : {};
    response = await send(
      realm.href,
      { headers, insecure: options.insecure, signal: options.signal },
      options.settings,
      options.userAgent,
    );
  }
  const body = new TextDecoder().decode(await readBody(response, TOKEN_RESPONSE_LIMIT, "the token server's answer"));
  if (!response.ok) {
    throw response.status === 401 || response.status === 403 || response.status === 400
      ? new RegistryError("unauthorized", "unauthorized: incorrect username or password")
      : new RegistryError("unavailable", `token server ${realm.origin} answered ${response.status}`);
  }
  return parseToken(body, realm.origin);
}

function parseToken(body: string, server: string): Token {
  let document: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null) document = parsed as Record<string, unknown>;
  } catch {
    document = {}; // Treated as an answer without a token, below.
  }
  const text = (name: string): string | undefined => {
    const value = document[name];
    return typeof value === "string" && value !== "" && !/[\r\n]/.test(value) ? value : undefined;
  };
  const value = text("token") ?? text("access_token");
  if (value === undefined)
    throw new RegistryError("unavailable", `authorization server ${server} did not include a token`);
  const seconds = typeof document.expires_in === "number" ? document.expires_in : MINIMUM_TOKEN_SECONDS;
  return {
    value,
    refreshToken: text("refresh_token"),
    expiresAt: Date.now() + Math.max(seconds, MINIMUM_TOKEN_SECONDS) * 1000,
  };
}
