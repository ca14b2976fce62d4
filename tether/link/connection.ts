import { keepConnected, type LinkClient } from "../../src/link/client.ts";
import type { Channel } from "../../src/link/contract.ts";
import type { LinkConfiguration } from "../../src/link/guest-configuration.ts";
import type { GuestEvent } from "../../src/link/operations.ts";
import type { Session } from "../../src/link/session.ts";
import type { StateReport } from "../state.ts";
import { type CallHandlers, type StreamHandlers, serveChannel } from "./request.ts";

/** Events that wait for a slow endpoint; older ones are dropped, since the state that follows says it all. */
const EVENT_LIMIT = 64;

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

  constructor(link: LinkConfiguration, services: { calls: CallHandlers; streams: StreamHandlers }, state: StateReport) {
    this.#state = state;
    this.linked = new Promise((resolve) => {
      this.#linkedOnce = resolve;
    });
    let lastFailure = "";
    this.#client = keepConnected({
      ...link,
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

  /** Sends what `event` gives at the start of every session, and now. */
  greetWith(event: () => GuestEvent): void {
    this.#greetings.push(event);
    this.send(event());
  }

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
    this.#client.useEndpoints(endpoints);
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
    this.#linkedOnce();
  }
}
