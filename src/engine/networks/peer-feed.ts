/** Keeps the tables of running guests' resolvers up to date, over their control links. */
import type { LinkSession } from "../../link/contract.ts";
import type { Container } from "../containers/container.ts";
import type { ContainerTable } from "../containers/table.ts";
import type { DockerEvent } from "../contract.ts";
import type { EventLog } from "../events/event-log.ts";
import { hasNames, peerTable } from "./names.ts";
import type { NetworkTable } from "./network-table.ts";

/** Changes within this time go out together, in milliseconds: a compose project starts many containers at once. */
const COLLECT = 20;
/** What changes who is running, how it is called, or where it is. */
const ACTIONS: ReadonlySet<string> = new Set(["start", "die", "destroy", "rename", "connect", "disconnect"]);

interface FeedParts {
  table: ContainerTable;
  networks: NetworkTable;
  events: Pick<EventLog, "onPublish">;
  log: (message: string) => void;
}

export class PeerFeed {
  /** What each session was sent last. */
  readonly #sent = new WeakMap<LinkSession, string>();
  readonly #busy = new WeakSet<LinkSession>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #stopListening: () => void;

  constructor(private readonly parts: FeedParts) {
    this.#stopListening = parts.events.onPublish((event) => this.#happened(event));
  }

  close(): void {
    this.#stopListening();
    clearTimeout(this.#timer);
  }

  #happened({ Type, Action }: DockerEvent): void {
    if (Type !== "container" && Type !== "network") return;
    if (ACTIONS.has(Action)) this.changed();
  }

  /** Send what has changed, soon. */
  changed(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const container of this.parts.table.all()) this.send(container);
    }, COLLECT);
  }

  /** Send a container its table, unless it has it or is about to get it. */
  send(container: Container): void {
    const { session } = container;
    const { networks, table, log } = this.parts;
    if (!session || this.#busy.has(session)) return;
    const networkOf = networks.byId.bind(networks);
    const isNamed = Object.values(container.document.endpoints).some(({ networkId }) => {
      const network = networkOf(networkId);
      return network !== undefined && hasNames(network);
    });
    if (!isNamed) return;
    const peers = peerTable(table, container, networkOf);
    const text = JSON.stringify(peers);
    if (this.#sent.get(session) === text) return;
    this.#busy.add(session);
    session
      .call("setPeers", { networks: peers })
      .then(
        () => {
          this.#sent.set(session, text);
        },
        (error: unknown) => {
          // A session that ended is followed by another one, which is sent everything. Asking again would change nothing else.
          this.#sent.set(session, text);
          log(`container ${container.name}: names of its peers: ${error instanceof Error ? error.message : error}`);
        },
      )
      .finally(() => {
        this.#busy.delete(session);
        // The table may have changed on the way.
        this.send(container);
      });
  }
}
