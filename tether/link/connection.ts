import { keepConnected, type LinkClient } from "../../src/link/client.ts";
import type { Channel } from "../../src/link/contract.ts";
import type { LinkConfiguration } from "../../src/link/guest-configuration.ts";
import type { GuestEvent } from "../../src/link/operations.ts";
import type { Session } from "../../src/link/session.ts";
import type { StateReport } from "../state.ts";
import { openSerialCarrier } from "./serial-carrier.ts";
import { type CallHandlers, type StreamHandlers, serveChannel } from "./request.ts";

/** Events that wait for a slow endpoint; older ones are dropped, since the state that follows says it all. */
const EVENT_LIMIT = 64;

/** Where the serial carrier is dialled; nowhere when the VM has no such port, so that its process runs all the same. */
const serialEndpoints = (): string[] => {
  try {
    return [openSerialCarrier()];
  } catch (error) {
    console.error(`control link: ${error instanceof Error ? error.message : error}`);
    return [];
  }
};

/** The control link of this VM, for as long as it runs. */
export class Connection {
  readonly #client: LinkClient;
  readonly #state: StateReport;
  #session: Session | undefined;
  #events: Channel | undefined;
  #waiting = 0;
  /** Events that every new session begins with. */
  readonly #greetings: (() => GuestEvent)[] = [];
  #linkedOnce: () => void = () => undefined;
  /** Resolves at the first session. */
  readonly linked: Promise<void>;

  readonly #carrier: LinkConfiguration["carrier"];

  constructor(link: LinkConfiguration, services: { calls: CallHandlers; streams: StreamHandlers }, state: StateReport) {
    this.#state = state;
    this.#carrier = link.carrier;
    this.linked = new Promise((resolve) => {
      this.#linkedOnce = resolve;
    });
    let lastFailure = "";
    this.#client = keepConnected({
      ...link,
      endpoints: link.carrier === "serial" ? serialEndpoints() : link.endpoints,
      onSession: (session) => {
        session.onChannel((channel) => void serveChannel(channel, services.calls, services.streams));
        this.#opened(session);
      },
      onFailure: (message) => {
        if (message !== lastFailure) console.error(`control link: ${message}`);
        lastFailure = message;
      },
    });
    state.onChange((current) => this.send({ type: "state", state: current }));
  }

  get isLinked(): boolean {
    return this.#session !== undefined;
  }

  /** The session waits for another connection, or got one less than this many milliseconds ago. */
  isRecovering(milliseconds: number): boolean {
    const session = this.#session;
    if (session === undefined) return false;
    const { carriedFor } = session;
    return carriedFor === undefined || (session.resumed && carriedFor < milliseconds);
  }

  /** Nothing under way is lost when the connection is given up. */
  get isResumable(): boolean {
    return this.#session?.id !== undefined;
  }

  /** Sends what `event` gives at the start of every session, and now. */
  greetWith(event: () => GuestEvent): void {
    this.#greetings.push(event);
    this.send(event());
  }

  /** Calls `use` with the session there is, and with every later one. */
  withSession(use: (session: Session) => void): void {
    this.#users.push(use);
    if (this.#session !== undefined) use(this.#session);
  }
  readonly #users: ((session: Session) => void)[] = [];

  /** Reports an event, if anybody listens. Never throws. */
  send(event: GuestEvent): void {
    const events = this.#events;
    if (events === undefined || this.#waiting >= EVENT_LIMIT) return;
    this.#waiting++;
    const sent = (): void => {
      this.#waiting--;
    };
    events.control({ ...event }).then(sent, sent);
  }

  /** Where to call from now on. A session over a network that is none of these is ended, and another one begun. */
  useEndpoints(endpoints: string[]): void {
    // The serial line is there whatever becomes of the networks.
    if (this.#carrier === "net") this.#client.useEndpoints(endpoints);
  }

  close(reason: string): void {
    this.#client.close(reason);
  }

  #opened(session: Session): void {
    this.#session = session;
    this.#events = session.openEvents();
    void session.closed.then(() => {
      if (this.#session !== session) return;
      this.#session = undefined;
      this.#events = undefined;
    });
    if (this.#state.current.phases?.linked === undefined) this.#state.phase("linked");
    this.send({ type: "state", state: this.#state.current });
    for (const greeting of this.#greetings) this.send(greeting());
    for (const use of this.#users) use(session);
    this.#linkedOnce();
  }
}
