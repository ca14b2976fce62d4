import { randomBytes } from "node:crypto";
import { LabFault } from "../fault.ts";
import type { User } from "./users.ts";

export const TICKET_COOKIE_NAME = "vmware_cgi_ticket";
/** A ticket must be used within this time, as on vCenter. */
const LIFETIME_MILLISECONDS = 120 * 1000;
const TICKET_LIMIT = 1000;

interface Ticket {
  user: User;
  method: string;
  /** Path and sorted query of the one request that it is good for. */
  target: string;
  expires: number;
}

/** Tickets for one HTTP request each: bound to method and URL, single use, short-lived (AcquireGenericServiceTicket). */
export class ServiceTickets {
  readonly #tickets = new Map<string, Ticket>();

  /** @param method vSphere's spelling: `httpGet`, `httpPut`, … or undefined for GET. */
  acquire(user: User, method: string | undefined, url: string): string {
    const now = Date.now();
    for (const [id, ticket] of this.#tickets) if (ticket.expires < now) this.#tickets.delete(id);
    if (this.#tickets.size >= TICKET_LIMIT) {
      throw new LabFault("LimitExceeded", `There are already ${TICKET_LIMIT} unused service tickets.`);
    }
    const id = randomBytes(20).toString("hex");
    this.#tickets.set(id, {
      user,
      method: (method ?? "httpGet").replace(/^http/, "").toUpperCase(),
      target: comparableTarget(url),
      expires: now + LIFETIME_MILLISECONDS,
    });
    return id;
  }

  /** The user behind a ticket that fits this request; the ticket is used up whether it fits or not. */
  redeem(id: string | undefined, method: string, url: string): User | undefined {
    const ticket = id === undefined ? undefined : this.#tickets.get(id);
    if (!ticket || id === undefined) return undefined;
    this.#tickets.delete(id);
    const fits = ticket.method === method && ticket.target === comparableTarget(url) && ticket.expires >= Date.now();
    return fits ? ticket.user : undefined;
  }
}

/** Clients spell one URL differently (order of the query, escapes, `dcPath` left out for a host): compare what it means. */
function comparableTarget(url: string): string {
  const parsed = new URL(url, "https://localhost");
  const query = [...parsed.searchParams].filter(([key]) => key !== "dcPath").sort();
  return `${decodeURIComponent(parsed.pathname)}?${new URLSearchParams(query)}`;
}
