/** Linux bridges (one per port group) and the taps of network adapters, by iproute2. */
import { access, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HypervisorError } from "../contract.ts";
import { bridgeAddress, bridgeName, interfacePrefix } from "./interface-names.ts";

const PORT_GROUP_LIMIT = 1000;
const IP_TIMEOUT_MS = 10_000;

/** Run several `ip` commands with one process. */
async function ip(commands: readonly string[]): Promise<void> {
  if (commands.length === 0) return;
  let child: Bun.Subprocess<Uint8Array<ArrayBuffer>, "ignore", "pipe">;
  try {
    child = Bun.spawn(["ip", "-batch", "-"], {
      stdin: new TextEncoder().encode(`${commands.join("\n")}\n`),
      stdout: "ignore",
      stderr: "pipe",
      timeout: IP_TIMEOUT_MS,
    });
  } catch {
    throw new HypervisorError("HostConfigFault", "port groups need the command ip; install the package iproute2");
  }
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code === 0) return;
  const reason = errors.trim().split("\n")[0] ?? `exit code ${code}`;
  const advice = /not permitted/i.test(reason)
    ? "; run the lab as root (it needs CAP_NET_ADMIN for bridges and taps)"
    : "";
  throw new HypervisorError("HostConfigFault", `cannot set up the network: ${reason}${advice}`);
}

const interfaceExists = (name: string) =>
  access(`/sys/class/net/${name}`).then(
    () => true,
    () => false,
  );

export class HostNetwork {
  readonly prefix: string;
  readonly #file: string;
  #portGroups: string[] | undefined;
  /** Changes of the port group list happen one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(stateDirectory: string) {
    this.prefix = interfacePrefix(stateDirectory);
    this.#file = join(stateDirectory, "port-groups.json");
  }

  bridge(portGroup: string): string {
    return bridgeName(this.prefix, portGroup);
  }

  async #load(): Promise<string[]> {
    if (this.#portGroups === undefined) {
      const text = await readFile(this.#file, "utf8").catch(() => "[]");
      const list: unknown = JSON.parse(text);
      this.#portGroups = Array.isArray(list) ? list.filter((name) => typeof name === "string") : [];
    }
    return this.#portGroups;
  }

  async #save(names: string[]): Promise<void> {
    await writeFile(`${this.#file}.new`, JSON.stringify(names));
    await rename(`${this.#file}.new`, this.#file);
    this.#portGroups = names;
  }

  #serialized<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work, work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async portGroups(): Promise<{ name: string; bridge: string }[]> {
    return (await this.#load()).map((name) => ({ name, bridge: this.bridge(name) }));
  }

  make(portGroup: string): Promise<{ bridge: string }> {
    return this.#serialized(async () => {
      const names = await this.#load();
      if (!names.includes(portGroup)) {
        if (names.length >= PORT_GROUP_LIMIT)
          throw new HypervisorError("LimitExceeded", `the lab has ${PORT_GROUP_LIMIT} port groups already`);
        // Recorded first: a bridge that was made is always found again.
        await this.#save([...names, portGroup]);
      }
      const bridge = this.bridge(portGroup);
      await this.#ensureBridge(portGroup);
      return { bridge };
    });
  }

  /** Idempotent. The host takes no addresses from the port group's routers: it is a switch, not a guest. */
  async #ensureBridge(portGroup: string): Promise<void> {
    const bridge = this.bridge(portGroup);
    if (!(await interfaceExists(bridge))) {
      await ip([
        `link add name ${bridge} address ${bridgeAddress(this.prefix, portGroup)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
        `link set dev ${bridge} addrgenmode none`,
      ]);
      await writeFile(`/proc/sys/net/ipv6/conf/${bridge}/accept_ra`, "0").catch((error: NodeJS.ErrnoException) => {
        // A host without IPv6 has nothing to switch off.
        if (error.code !== "ENOENT") throw error;
      });
    }
    await ip([`link set dev ${bridge} up`]);
  }

  remove(portGroup: string): Promise<void> {
    return this.#serialized(async () => {
      const bridge = this.bridge(portGroup);
      if (await interfaceExists(bridge)) await ip([`link delete dev ${bridge}`]);
      await this.#save((await this.#load()).filter((name) => name !== portGroup));
    });
  }

  /** Make the bridges of all recorded port groups, for example after a restart of this machine. */
  ensureBridges(): Promise<void> {
    return this.#serialized(async () => {
      for (const name of await this.#load()) await this.#ensureBridge(name);
    });
  }

  /** Attach taps to their port groups' bridges. The tap of a disconnected adapter stays down. */
  async attach(taps: readonly { tap: string; portGroup: string; connected: boolean }[]): Promise<void> {
    const known = new Set(await this.#load());
    for (const { portGroup } of taps) {
      if (!known.has(portGroup))
        throw new HypervisorError("NotFound", `there is no port group ${JSON.stringify(portGroup)}`);
    }
    await ip(
      taps.map(
        ({ tap, portGroup, connected }) =>
          `link set dev ${tap} master ${this.bridge(portGroup)} addrgenmode none ${connected ? "up" : "down"}`,
      ),
    );
  }

  async setLink(tap: string, connected: boolean): Promise<void> {
    await ip([`link set dev ${tap} ${connected ? "up" : "down"}`]);
  }

  /** Delete every bridge and tap of this lab. The list of port groups stays. */
  async removeInterfaces(): Promise<void> {
    const ours = (await readdir("/sys/class/net")).filter((name) => name.startsWith(this.prefix));
    // A tap vanishes with its QEMU, which may be ending right now: each is removed by itself, and gone already is fine.
    for (const name of ours)
      await ip([`link delete dev ${name}`]).catch((error: unknown) => {
        if (!(error instanceof HypervisorError) || !error.message.includes("Cannot find device")) throw error;
      });
  }
}

/** Counters of a tap, as the guest sees them. */
export async function tapCounters(tap: string): Promise<{
  receiveBytes: number;
  transmitBytes: number;
  receivePackets: number;
  transmitPackets: number;
}> {
  const read = async (name: string) => Number(await readFile(`/sys/class/net/${tap}/statistics/${name}`, "utf8"));
  const [receiveBytes, transmitBytes, receivePackets, transmitPackets] = await Promise.all([
    read("tx_bytes"),
    read("rx_bytes"),
    read("tx_packets"),
    read("rx_packets"),
  ]);
  return { receiveBytes, transmitBytes, receivePackets, transmitPackets };
}
