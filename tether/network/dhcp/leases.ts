/** The DHCP clients of a container's interfaces, and their leases, which are kept on its disk for the next start. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { InterfaceConfiguration } from "../../../src/link/guest-configuration.ts";
import { DhcpClient } from "./client.ts";
import type { Lease } from "./lease.ts";
import { PacketLink } from "./link.ts";

/** Milliseconds that a container's start, or a connect, waits for an address. */
const ACQUIRE_LIMIT = 20_000;
const FILE_LIMIT = 64 * 1024;

export class Leases {
  readonly #file: string;
  readonly #hostName: string;
  readonly #onChange: () => void;
  readonly #clients = new Map<string, DhcpClient>();
  #kept: Record<string, Lease>;

  /** `onChange`: a lease that was had before is another one now, or is lost. */
  constructor(file: string, hostName: string, onChange: () => void) {
    this.#file = file;
    this.#hostName = hostName;
    this.#onChange = onChange;
    this.#kept = read(file);
  }

  /** By MAC address. */
  get current(): Map<string, Lease> {
    const leases = new Map<string, Lease>();
    for (const [mac, { lease }] of this.#clients) if (lease) leases.set(mac, lease);
    return leases;
  }

  /** Gets an address for an interface that is up. Rejects when there is none to be had. */
  async acquire({ mac, name }: InterfaceConfiguration): Promise<void> {
    const earlier = this.#kept[mac];
    const client = new DhcpClient({
      hardwareAddress: mac,
      hostName: this.#hostName,
      open: (transaction) => new PacketLink(name, transaction),
      ...(earlier === undefined ? {} : { earlier }),
      onChange: this.#onChange,
      onKept: (lease) => this.#keep(mac, lease),
      log: (message) => console.error(`${name}: ${message}`),
    });
    this.#clients.set(mac, client);
    try {
      await client.acquire(ACQUIRE_LIMIT);
    } catch (error) {
      this.#clients.delete(mac);
      client.close();
      throw new Error(`network interface ${name}: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** Gives the address of an interface back. */
  release(mac: string): void {
    const client = this.#clients.get(mac);
    this.#clients.delete(mac);
    const address = client?.lease?.address;
    client?.release();
    // Asked for again, but not used without asking.
    const kept = this.#kept[mac];
    if (address !== undefined && kept) this.#keep(mac, { ...kept, expiry: 0 });
  }

  releaseAll(): void {
    for (const mac of [...this.#clients.keys()]) this.release(mac);
  }

  #keep(mac: string, lease: Lease): void {
    this.#kept = { ...this.#kept, [mac]: lease };
    try {
      // Infinity is no JSON.
      const text = JSON.stringify(this.#kept, (_key, value) =>
        value === Number.POSITIVE_INFINITY ? "forever" : value,
      );
      writeFileSync(`${this.#file}.new`, text, { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      console.error(`keeping a lease on disk: ${error instanceof Error ? error.message : error}`);
    }
  }
}

function read(file: string): Record<string, Lease> {
  if (!existsSync(file)) return {};
  try {
    const text = readFileSync(file, "utf8");
    if (text.length > FILE_LIMIT) throw new Error("it is too long");
    const kept: unknown = JSON.parse(text, (_key, value) => (value === "forever" ? Number.POSITIVE_INFINITY : value));
    if (typeof kept !== "object" || kept === null) throw new Error("it is no table");
    return Object.fromEntries(Object.entries(kept).filter(([, lease]) => isLease(lease)));
  } catch (error) {
    console.error(`${file}: ${error instanceof Error ? error.message : error}`);
    return {};
  }
}

const isLease = (value: Partial<Lease> | null): value is Lease =>
  typeof value?.address === "string" &&
  [value.prefixLength, value.obtained, value.renewal, value.rebinding, value.expiry].every(
    (number) => typeof number === "number",
  ) &&
  [value.routes, value.nameServers, value.search].every(Array.isArray) &&
  typeof value.server === "string" &&
  typeof value.serverHardware === "string";
