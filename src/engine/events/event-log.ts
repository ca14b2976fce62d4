/** What happened, for `docker events`: a bounded history for replay and any number of followers. */
import type { DockerEvent, Events, Filters } from "../contract.ts";
import { EngineError } from "../errors.ts";
import { EVENT_BACKLOG, EVENT_HISTORY } from "../limits.ts";
import { nowNanoseconds } from "../time.ts";
import { eventMatches } from "./event-filter.ts";

interface Subscriber {
  backlog: DockerEvent[];
  overflow: boolean;
  wake: () => void;
}

export class EventLog implements Events {
  readonly #history: DockerEvent[] = [];
  readonly #subscribers = new Set<Subscriber>();
  readonly #listeners = new Set<(event: DockerEvent) => void>();

  publish(type: DockerEvent["Type"], action: string, id: string, attributes: Record<string, string>): DockerEvent {
    const timeNano = nowNanoseconds();
    const event: DockerEvent = {
      Type: type,
      Action: action,
      Actor: { ID: id, Attributes: attributes },
      scope: "local",
      time: Number(timeNano / 1_000_000_000n),
      timeNano,
    };
    this.#history.push(event);
    if (this.#history.length > EVENT_HISTORY) this.#history.shift();
    for (const subscriber of this.#subscribers) {
      if (subscriber.backlog.length >= EVENT_BACKLOG) subscriber.overflow = true;
      else subscriber.backlog.push(event);
      subscriber.wake();
    }
    for (const listener of this.#listeners) listener(event);
    return event;
  }

  /** Calls the listener, which must not throw, with every event as it is published. For parts of the engine. */
  onPublish(listener: (event: DockerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Number of followers, for `docker info`. */
  get listeners(): number {
    return this.#subscribers.size;
  }

  async *subscribe(options: {
    since?: bigint;
    until?: bigint;
    filters: Filters;
    signal: AbortSignal;
  }): AsyncGenerator<DockerEvent> {
    const { since, until, filters, signal } = options;
    const subscriber: Subscriber = { backlog: [], overflow: false, wake: () => undefined };
    // Docker replays only when asked to, by since or until.
    if (since !== undefined || until !== undefined) {
      const from = since ?? 0n;
      subscriber.backlog.push(...this.#history.filter((event) => event.timeNano >= from));
    }
    this.#subscribers.add(subscriber);
    const wake = (): void => subscriber.wake();
    signal.addEventListener("abort", wake);
    const remaining = until === undefined ? undefined : Number((until - nowNanoseconds()) / 1_000_000n);
    let expired = remaining !== undefined && remaining <= 0;
    const timer =
      remaining === undefined || expired
        ? undefined
        : setTimeout(
            () => {
              expired = true;
              subscriber.wake();
            },
            Math.min(remaining, 2 ** 31 - 1),
          );
    try {
      while (!signal.aborted) {
        const event = subscriber.backlog.shift();
        if (event) {
          if (until !== undefined && event.timeNano > until) return;
          if (eventMatches(event, filters)) yield event;
          continue;
        }
        if (subscriber.overflow)
          throw new EngineError(
            "internal",
            `this client was more than ${EVENT_BACKLOG} events behind and was let go: subscribe again with "since"`,
          );
        if (expired) return;
        await new Promise<void>((resolve) => {
          subscriber.wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      this.#subscribers.delete(subscriber);
    }
  }
}
