/** What the engine has told of the container's peers, and what names mean by it. Kept on disk for starts without an engine. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { reverseAddress } from "../../src/format/ip-address.ts";
import type { PeerNetwork } from "../../src/link/guest-configuration.ts";
import { randomBelow } from "./random.ts";

/** Bytes of the table that is kept. */
const FILE_LIMIT = 4 * 1024 * 1024;

export class PeerNames {
  #networks: PeerNetwork[] | undefined;
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
    this.#networks = read(file);
  }

  /** False until a table has arrived, in this boot or an earlier one. */
  get known(): boolean {
    return this.#networks !== undefined;
  }

  set(networks: PeerNetwork[]): void {
    this.#networks = networks;
    const text = JSON.stringify(networks);
    if (text.length > FILE_LIMIT) return;
    writeFileSync(`${this.#file}.new`, text, { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
  }

  /**
   * Addresses of `name` or `name.network` (lower case), beginning with another one at each call, so that peers of one name
   * share the load. Undefined when it is no peer.
   */
  addresses(name: string): string[] | undefined {
    for (const network of this.#networks ?? []) {
      const suffix = `.${network.name}`;
      const plain = name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
      const found = network.peers.filter(({ names }) => names.includes(plain)).flatMap((peer) => peer.addresses);
      if (found.length === 0) continue;
      // At random: programs ask for IPv4 and IPv6 in turn, so counting would favour some.
      const first = randomBelow(found.length);
      return [...found.slice(first), ...found.slice(0, first)];
    }
    return undefined;
  }

  /** The names of a reverse look-up, such as `4.3.2.1.in-addr.arpa` or one in ip6.arpa. */
  pointers(name: string): string[] | undefined {
    const address = reverseAddress(name);
    if (address === undefined) return undefined;
    for (const network of this.#networks ?? []) {
      const peer = network.peers.find(({ addresses }) => addresses.includes(address));
      if (peer?.names[0] !== undefined) return [`${peer.names[0]}.${network.name}`];
    }
    return undefined;
  }
}

function read(file: string): PeerNetwork[] | undefined {
  if (!existsSync(file)) return undefined;
  try {
    const networks: unknown = JSON.parse(readFileSync(file, "utf8"));
    return Array.isArray(networks) ? (networks as PeerNetwork[]) : undefined;
  } catch (error) {
    console.error(`names of peers: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}
