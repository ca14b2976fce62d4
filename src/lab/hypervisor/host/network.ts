/** Linux bridges (one per port group) and the taps of network adapters, by iproute2. */
import { access, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HypervisorError, type PortGroupSecurity } from "../contract.ts";
import { bridgeAddress, bridgeName, interfacePrefix } from "./interface-names.ts";

const PORT_GROUP_LIMIT = 1000;
const IP_TIMEOUT_MS = 10_000;

const NOTHING_ALLOWED: PortGroupSecurity = { forgedTransmits: false, allowPromiscuous: false };

/** A tap and the adapter that it is for. */
export interface TapAttachment {
  tap: string;
  portGroup: string;
  macAddress: string;
  connected: boolean;
}

const ip = (commands: readonly string[]): Promise<void> => batch("ip", commands);
const bridge = (commands: readonly string[]): Promise<void> => batch("bridge", commands);

/** Run several commands of iproute2 with one process. */
async function batch(program: "ip" | "bridge", commands: readonly string[]): Promise<void> {
  if (commands.length === 0) return;
  let child: Bun.Subprocess<Uint8Array<ArrayBuffer>, "ignore", "pipe">;
  try {
    child = Bun.spawn([program, "-batch", "-"], {
      stdin: new TextEncoder().encode(`${commands.join("\n")}\n`),
      stdout: "ignore",
      stderr: "pipe",
      timeout: IP_TIMEOUT_MS,
    });
  } catch {
    throw new HypervisorError(
      "HostConfigFault",
      "port groups need the commands ip and bridge; install the package iproute2",
    );
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
  readonly #security = new Map<string, PortGroupSecurity>();
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

  make(portGroup: string, security = NOTHING_ALLOWED): Promise<{ bridge: string }> {
    this.#security.set(portGroup, security);
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
  async attach(taps: readonly TapAttachment[]): Promise<void> {
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
    await bridge(taps.flatMap((attachment) => this.#guard(attachment)));
  }

  /**
   * What a vSwitch holds a guest to. A locked port takes frames from its own address only, which is written down here
   * instead of learned; without flooding it gets no frames that are for others. (Locked ports need Linux 5.18.) Hairpin is
   * for a guest that calls itself by a published port: where br_netfilter is on, the frame is sent back inside of the bridge.
   */
  #guard({ tap, portGroup, macAddress }: TapAttachment): string[] {
    const { forgedTransmits, allowPromiscuous } = this.#security.get(portGroup) ?? NOTHING_ALLOWED;
    const flood = allowPromiscuous || forgedTransmits ? "on" : "off";
    if (forgedTransmits) return [`link set dev ${tap} learning on locked off flood ${flood}`];
    return [
      `link set dev ${tap} learning off locked on flood ${flood} hairpin on`,
      `fdb replace ${macAddress} dev ${tap} master static`,
    ];
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
