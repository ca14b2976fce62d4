import { randomBytes, randomUUID } from "node:crypto";
import { LabFault } from "../fault.ts";
import type { User } from "./users.ts";

/** A session without a call for this long ends; vCenter's default. */
const IDLE_LIMIT_MILLISECONDS = 30 * 60 * 1000;
const SWEEP_MILLISECONDS = 60 * 1000;
/** Sessions at a time. hostd has about this many; each Login past it is refused. */
const SESSION_LIMIT = 1000;
/** Clone tickets are good for this long, and once. */
const CLONE_TICKET_MILLISECONDS = 60 * 1000;
const CLONE_TICKET_LIMIT = 1000;

export const COOKIE_NAME = "vmware_soap_session";

export interface Client {
  address: string;
  userAgent: string;
}

/** One logged-in client. What belongs to it (collectors, views) ends with it. */
export class Session {
  /** `UserSession.key`; never the cookie's value. */
  readonly key = randomUUID();
  readonly cookie = randomBytes(20).toString("hex");
  readonly loginTime = new Date();
  lastActiveTime = this.loginTime;
  callCount = 0;
  #outstanding = 0;
  #endings = new Set<() => void>();
  #ended = false;

  constructor(
    readonly user: User,
    readonly client: Client,
    readonly locale: string,
  ) {}

  /** Counts one call from now until the returned function is called; meanwhile the session is not idle. */
  beginCall(): () => void {
    this.callCount++;
    this.#outstanding++;
    this.lastActiveTime = new Date();
    return () => {
      this.#outstanding--;
      this.lastActiveTime = new Date();
    };
  }

  /** Calls `ending` when the session ends; the returned function takes it back. */
  onEnd(ending: () => void): () => void {
    if (this.#ended) ending();
    else this.#endings.add(ending);
    return () => this.#endings.delete(ending);
  }

  isIdleSince(time: number): boolean {
    return this.#outstanding === 0 && this.lastActiveTime.getTime() < time;
  }

  end(): void {
    this.#ended = true;
    const endings = [...this.#endings];
    this.#endings.clear();
    for (const ending of endings) ending();
  }
}

export class Sessions {
  readonly #byCookie = new Map<string, Session>();
  readonly #cloneTickets = new Map<string, { session: Session; expires: number }>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(readonly idleLimitMilliseconds = IDLE_LIMIT_MILLISECONDS) {
    this.#sweeper = setInterval(() => this.endIdle(), SWEEP_MILLISECONDS);
    this.#sweeper.unref();
  }

  /** The live session behind a cookie's value. */
  find(cookie: string | undefined): Session | undefined {
    if (!cookie) return undefined;
    const session = this.#byCookie.get(cookie);
    if (session?.isIdleSince(Date.now() - this.idleLimitMilliseconds)) {
      this.terminate(session);
      return undefined;
    }
    return session;
  }

  /** Starts a session. LimitExceeded when there are too many. */
  start(user: User, client: Client, locale: string): Session {
    if (this.#byCookie.size >= SESSION_LIMIT) this.endIdle();
    if (this.#byCookie.size >= SESSION_LIMIT) {
      throw new LabFault(
        "LimitExceeded",
        `The session count limit of ${SESSION_LIMIT} is reached; log out of others.`,
        {
          property: "sessionCount",
          limit: SESSION_LIMIT,
        },
      );
    }
    const session = new Session(user, client, locale);
    this.#byCookie.set(session.cookie, session);
    return session;
  }

  terminate(session: Session): void {
    if (this.#byCookie.delete(session.cookie)) session.end();
  }

  list(): Session[] {
    return [...this.#byCookie.values()];
  }

  byKey(key: string): Session | undefined {
    return this.list().find((session) => session.key === key);
  }

  acquireCloneTicket(session: Session): string {
    const now = Date.now();
    for (const [ticket, { expires }] of this.#cloneTickets) if (expires < now) this.#cloneTickets.delete(ticket);
    if (this.#cloneTickets.size >= CLONE_TICKET_LIMIT) {
      throw new LabFault("LimitExceeded", `There are already ${CLONE_TICKET_LIMIT} unused clone tickets.`);
    }
    const ticket = `cst-VCT-${randomUUID()}--tp-${randomBytes(16).toString("hex")}`;
    this.#cloneTickets.set(ticket, { session, expires: now + CLONE_TICKET_MILLISECONDS });
    return ticket;
  }

  /** The session that a clone ticket was made for; the ticket is used up. */
  redeemCloneTicket(ticket: string): Session | undefined {
    const entry = this.#cloneTickets.get(ticket);
    this.#cloneTickets.delete(ticket);
    if (!entry || entry.expires < Date.now()) return undefined;
    return this.#byCookie.has(entry.session.cookie) ? entry.session : undefined;
  }

  endIdle(): void {
    const limit = Date.now() - this.idleLimitMilliseconds;
    for (const session of this.list()) if (session.isIdleSince(limit)) this.terminate(session);
  }

  close(): void {
    clearInterval(this.#sweeper);
    for (const session of this.list()) this.terminate(session);
  }
}

/** The value of a cookie in a Cookie header; vSphere puts it in quotes and some clients send them back. */
export function cookieValue(header: string | undefined, name: string): string | undefined {
  for (const part of header?.split(";") ?? []) {
    const [key, ...rest] = part.split("=");
    if (key?.trim() === name)
      return rest
        .join("=")
        .trim()
        .replace(/^"(.*)"$/, "$1");
  }
  return undefined;
}
