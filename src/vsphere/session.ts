/** A logged-in vim25 session: typed calls, at most 32 in flight, one re-login shared by all calls that find the session gone. */
import { VSphereFault } from "./contract.ts";
import { ConnectionError, Transport, type TransportOptions } from "./transport.ts";
import {
  decodeResponse,
  encodeRequest,
  type ManagedObjectReference,
  type MethodName,
  type Methods,
  negotiatedVersion,
  type Parameters,
  type Result,
  type ServiceContent,
  soapAction,
  versionNumber,
  WireError,
  XmlError,
} from "./vim25/index.ts";

/** The newest that we ask for; everything needed is in it, and newer servers answer in it. */
const NEWEST_VERSION = "7.0.0.0";
const OLDEST_SERVER = "6.5";
const CALLS_IN_FLIGHT = 32;
/** Shorter than the shortest idle time-out of a session that is met in the field (30 minutes). */
const KEEP_ALIVE_MS = 10 * 60_000;
const SERVICE_INSTANCE: ManagedObjectReference<"ServiceInstance"> = {
  type: "ServiceInstance",
  value: "ServiceInstance",
};
/**
 * Asking twice does no harm, so a connection that broke under such a call is no error. What WaitForUpdatesEx has told is not told
 * again by every server, and a token of ContinueRetrievePropertiesEx is good once.
 */
const REPEATABLE = /^(Retrieve|CurrentTime|Find|Query|Fetch)/;

export interface CallOptions {
  /** Waits for something to happen on the server, so it does not count as in flight. */
  longPoll?: boolean;
  signal?: AbortSignal;
}

export class Session {
  private readonly transport: Transport;
  private cookie: string | undefined;
  /** Grows with each login; what belongs to an earlier session (collectors, views) is gone. */
  private generation = 0;
  private loggingIn: Promise<void> | undefined;
  private free = CALLS_IN_FLIGHT;
  private readonly waiting: (() => void)[] = [];
  private readonly keepAlive: Timer;
  private lastCall = Date.now();
  private closed = false;

  private constructor(
    target: TransportOptions,
    private readonly username: string,
    private readonly password: string,
  ) {
    this.transport = new Transport(target);
    this.keepAlive = setInterval(() => this.stayAlive(), KEEP_ALIVE_MS / 2);
    this.keepAlive.unref();
  }

  private contents: ServiceContent | undefined;
  private version = NEWEST_VERSION;

  /** Connects and logs in. */
  static async open(target: TransportOptions & { username: string; password: string }): Promise<Session> {
    const session = new Session(target, target.username, target.password);
    try {
      session.contents = await session.negotiate();
      const { about } = session.contents;
      if (versionNumber(about.apiVersion) < versionNumber(OLDEST_SERVER)) {
        throw new ConnectionError(
          `${about.fullName} is too old: its API is ${about.apiVersion}, ${OLDEST_SERVER} is needed`,
          false,
        );
      }
      session.version = negotiatedVersion(NEWEST_VERSION, about.apiVersion);
      await session.login(0);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Not every old server answers a version that it does not know: then it is asked in the oldest that we speak. */
  private async negotiate(): Promise<ServiceContent> {
    try {
      return await this.exchange("RetrieveServiceContent", SERVICE_INSTANCE, {}, {});
    } catch (error) {
      if (!(error instanceof VSphereFault)) throw error;
      this.version = OLDEST_SERVER;
      return await this.exchange("RetrieveServiceContent", SERVICE_INSTANCE, {}, {});
    }
  }

  get content(): ServiceContent {
    if (!this.contents) throw new Error("The session is not open");
    return this.contents;
  }

  /** Does the negotiated API version include `version`? */
  speaks(version: string): boolean {
    return versionNumber(this.version) >= versionNumber(version);
  }

  get isVirtualCenter(): boolean {
    return this.content.about.apiType === "VirtualCenter";
  }

  /** Number of the login that is in force. */
  get number(): number {
    return this.generation;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** Calls a method; a fault is thrown as VSphereFault. */
  async call<M extends MethodName>(
    method: M,
    on: Methods[M]["on"],
    parameters: Parameters<M>,
    options: CallOptions = {},
  ): Promise<Result<M>> {
    if (this.closed) throw new ConnectionError("The connection to vSphere is closed", false);
    if (options.longPoll) return this.authenticated(method, on, parameters, options);
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await this.authenticated(method, on, parameters, options);
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    }
  }

  private async authenticated<M extends MethodName>(
    method: M,
    on: Methods[M]["on"],
    parameters: Parameters<M>,
    options: CallOptions,
  ) {
    const { generation } = this;
    try {
      return await this.exchange(method, on, parameters, options);
    } catch (error) {
      if (!(error instanceof VSphereFault) || error.fault !== "NotAuthenticated" || this.closed) throw error;
      await this.login(generation);
      return this.exchange(method, on, parameters, options);
    }
  }

  /** Logs in unless that happened since `generation`; concurrent callers share one login. */
  private login(generation: number): Promise<void> {
    if (this.generation > generation) return Promise.resolve();
    this.loggingIn ??= this.sendLogin().finally(() => {
      this.loggingIn = undefined;
    });
    return this.loggingIn;
  }

  private async sendLogin(): Promise<void> {
    const { sessionManager } = this.content;
    if (!sessionManager) throw new ConnectionError("The server offers no session manager", false);
    this.cookie = undefined;
    await this.exchange("Login", sessionManager, { userName: this.username, password: this.password }, {});
    this.generation++;
  }

  private async exchange<M extends MethodName>(
    method: M,
    on: Methods[M]["on"],
    parameters: Parameters<M>,
    options: CallOptions,
  ): Promise<Result<M>> {
    const body = encodeRequest(method, on, parameters, { version: this.version });
    let text: string;
    try {
      text = await this.post(body, options.signal);
    } catch (error) {
      // A kept-alive connection that the server closed under the request.
      if (!(error instanceof ConnectionError) || !error.interrupted || !REPEATABLE.test(method)) throw error;
      text = await this.post(body, options.signal);
    }
    const response = decodeSafely(method, text);
    if (!response.ok) throw new VSphereFault(response.fault.fault, response.fault.message, response.fault.detail);
    return response.result;
  }

  private async post(body: string, signal: AbortSignal | undefined): Promise<string> {
    this.lastCall = Date.now();
    const headers = {
      "Content-Type": "text/xml; charset=utf-8",
      SOAPAction: `"${soapAction(this.version)}"`,
      ...this.authorization(),
    };
    const response = await this.transport.post(this.transport.url.pathname, headers, body, signal);
    for (const cookie of response.headers["set-cookie"] ?? []) {
      const pair = cookie.split(";", 1)[0];
      if (pair?.startsWith("vmware_soap_session=")) this.cookie = pair;
    }
    if (response.status !== 200 && response.status !== 500) {
      throw new ConnectionError(
        `${this.transport.url.href} answered with HTTP status ${response.status}: is it the address of a vSphere's /sdk?`,
        false,
      );
    }
    return response.text;
  }

  private authorization(): Record<string, string> {
    return this.cookie === undefined ? {} : { Cookie: this.cookie };
  }

  /** Requests to the server's file service, with the session's cookie. Logs in again when that has expired. */
  async file(
    method: "GET" | "HEAD" | "PUT",
    path: string,
    headers: Record<string, string>,
    body?: { stream: ReadableStream<Uint8Array>; length: number } | Uint8Array,
  ) {
    if (this.closed) throw new ConnectionError("The connection to vSphere is closed", false);
    const { generation } = this;
    // A stream can be sent once only: make sure of the session first.
    const repeatable = body === undefined || body instanceof Uint8Array;
    if (!repeatable) await this.call("CurrentTime", SERVICE_INSTANCE, {});
    const send = () => this.transport.stream(method, path, { ...headers, ...this.authorization() }, body);
    const response = await send().catch((error: unknown) => {
      // A kept-alive connection that the server closed under the request.
      if (error instanceof ConnectionError && error.interrupted && repeatable) return send();
      throw error;
    });
    if (response.status !== 401 || !repeatable) return response;
    response.body.resume();
    await this.login(generation);
    return send();
  }

  private stayAlive(): void {
    if (Date.now() - this.lastCall < KEEP_ALIVE_MS / 2) return;
    // A failure here shows up in the next call, which also repairs it.
    this.call("CurrentTime", SERVICE_INSTANCE, {}).catch(() => undefined);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.keepAlive);
    const manager = this.contents?.sessionManager;
    // The server ends an idle session by itself: not reaching it any more is no error.
    if (this.cookie !== undefined && manager) await this.exchange("Logout", manager, {}, {}).catch(() => undefined);
    this.transport.close();
  }
}

function decodeSafely<M extends MethodName>(method: M, text: string) {
  try {
    return decodeResponse(method, text);
  } catch (error) {
    if (!(error instanceof WireError) && !(error instanceof XmlError)) throw error;
    throw new ConnectionError(`The server's answer to ${method} cannot be read: ${error.message}`, false, {
      cause: error,
    });
  }
}
