/** A tether in memory: boots with a fake machine, calls the engine over a real session, and runs a few tiny programs. */
import type { Channel } from "../../link/contract.ts";
import {
  type GuestConfiguration,
  type GuestLease,
  type GuestState,
  STATE_KEY,
} from "../../link/guest-configuration.ts";
import { decodeConfiguration, encodeState } from "../../link/guest-configuration-codec.ts";
import { LinkError } from "../../link/link-error.ts";
import { STREAM } from "../../link/operations.ts";
import { answerCall, closeWithError, Session } from "../../link/session.ts";
import type { GuestOwner } from "../guests/guest-links.ts";
import type { FakeGuest, FakeMachine, FakeVSphere } from "./fake-vsphere.ts";

/** Tokens the engine expects. */
export type Owners = Map<string, GuestOwner>;

export interface TetherBehaviour {
  /** How it reports: by guestinfo, by the link, or both. */
  reports: "guestinfo" | "link" | "both";
}

function pipe(): { engine: Session; tether: Session } {
  const make = (peer: () => Session) => ({
    write: (bytes: Uint8Array): number => {
      const copy = bytes.slice();
      setImmediate(() => peer().received(copy));
      return bytes.length;
    },
    end: () => setImmediate(() => peer().ended("pipe closed")),
  });
  const engine: Session = new Session(
    make(() => tether),
    "engine",
  );
  const tether: Session = new Session(
    make(() => engine),
    "tether",
  );
  return { engine, tether };
}

/** Makes every powered-on machine run a FakeTether. */
export function bootTethers(vsphere: FakeVSphere, owners: Owners, behaviour: TetherBehaviour): void {
  vsphere.boot = (machine) => new FakeTether(vsphere, machine, owners, behaviour);
}

/** What a DHCP server would give: an address that follows from the adapter's. */
const leasesFor = ({ network }: GuestConfiguration): GuestLease[] =>
  network.interfaces
    .filter(({ dhcp }) => dhcp !== undefined)
    .map(({ mac }) => ({
      mac,
      address: `10.88.9.${Number.parseInt(mac.slice(-2), 16)}`,
      prefixLength: 24,
      gateway: "10.88.9.1",
      nameServers: [],
      search: [],
    }));

class FakeTether implements FakeGuest {
  readonly #vsphere: FakeVSphere;
  readonly #machine: FakeMachine;
  readonly #behaviour: TetherBehaviour;
  readonly #boot = crypto.randomUUID();
  readonly #acknowledged = Promise.withResolvers<void>();
  readonly #delivered = Promise.withResolvers<void>();
  readonly #killed = Promise.withResolvers<number>();
  readonly #exit = Promise.withResolvers<number>();
  readonly #output: { stream: 1 | 2; bytes: Uint8Array; time: bigint }[] = [];
  #session: Session | undefined;
  #events: Channel | undefined;
  #off = false;
  #input = Promise.withResolvers<string>();
  #state: GuestState;

  constructor(vsphere: FakeVSphere, machine: FakeMachine, owners: Owners, behaviour: TetherBehaviour) {
    this.#vsphere = vsphere;
    this.#machine = machine;
    this.#behaviour = behaviour;
    this.#state = { version: 1, boot: this.#boot, status: "booting" };
    setImmediate(() => void this.#run(owners));
  }

  powerOff(): void {
    this.#off = true;
    this.#session?.ended("powered off");
  }

  async #run(owners: Owners): Promise<void> {
    const configuration = await decodeConfiguration((key) => this.#machine.record.extraConfig.get(key));
    const owner = owners.get(configuration.link.token);
    if (owner) {
      const { engine, tether } = pipe();
      this.#session = tether;
      tether.onChannel((channel) => void this.#serve(channel, configuration));
      owner.connected(engine);
      this.#events = tether.openEvents();
    }
    if (configuration.role === "loader") return;
    const leases = leasesFor(configuration);
    if (leases.length > 0) this.#state = { ...this.#state, leases };
    await this.#container(configuration.process.arguments, configuration.awaitAttach);
  }

  async #container(argv: string[], awaitAttach: boolean): Promise<void> {
    const [program = ""] = argv;
    if (!["true", "false", "echo", "cat", "sleep", "exit"].includes(program)) {
      this.#report({
        status: "failed",
        failure: "not-found",
        error: `exec: ${JSON.stringify(program)}: executable file not found in $PATH`,
      });
      await this.#end();
      return;
    }
    const { leases } = this.#state;
    this.#report({
      status: "running",
      pid: 1,
      startedAt: new Date().toISOString(),
      ...(leases === undefined ? {} : { leases }),
    });
    const code = await this.#program(argv);
    this.#exit.resolve(code);
    if (awaitAttach) await this.#delivered.promise;
    this.#report({ ...this.#state, status: "exited", exitCode: code, finishedAt: new Date().toISOString() });
    await this.#end();
  }

  async #end(): Promise<void> {
    if (this.#session) await this.#acknowledged.promise;
    if (!this.#off) this.#vsphere.cutPower(this.#machine.reference);
  }

  async #program([name, ...args]: string[]): Promise<number> {
    switch (name) {
      case "true":
        return 0;
      case "false":
        return 1;
      case "exit":
        return Number(args[0]);
      case "echo":
        this.#print(1, `${args.join(" ")}\n`);
        return 0;
      case "cat":
        this.#print(1, await this.#input.promise);
        return 0;
      default:
        return await this.#killed.promise;
    }
  }

  #print(stream: 1 | 2, text: string): void {
    this.#output.push({ stream, bytes: new TextEncoder().encode(text), time: BigInt(Date.now()) * 1_000_000n });
  }

  #report(change: Partial<GuestState>): void {
    if (this.#off) return;
    this.#state = { ...this.#state, ...change };
    if (this.#behaviour.reports !== "link")
      this.#vsphere.update(this.#machine, {
        extraConfig: new Map(this.#machine.record.extraConfig).set(STATE_KEY, encodeState(this.#state)),
      });
    if (this.#behaviour.reports !== "guestinfo")
      void this.#events?.control({ type: "state", state: this.#state }).catch(() => undefined);
  }

  async #serve(channel: Channel, configuration: GuestConfiguration): Promise<void> {
    try {
      await this.#answer(channel, configuration);
    } catch (error) {
      closeWithError(channel, error);
    }
  }

  async #answer(channel: Channel, configuration: GuestConfiguration): Promise<void> {
    switch (channel.request.op) {
      case "attach":
        await this.#attach(channel);
        return;
      case "logs":
        for (const { stream, bytes, time } of this.#output) {
          const record = new Uint8Array(13 + bytes.length);
          const view = new DataView(record.buffer);
          view.setUint8(0, stream);
          view.setBigUint64(1, time);
          view.setUint32(9, bytes.length);
          record.set(bytes, 13);
          await channel.send(STREAM.stdout, record);
        }
        channel.close();
        return;
      case "exec":
        await channel.control({ started: 7 });
        await channel.send(STREAM.stdout, new TextEncoder().encode("from exec\n"));
        await channel.control({ exited: 3 });
        channel.close();
        return;
      case "stop":
      case "signal": {
        const signal = Number(channel.request.signal ?? 15);
        this.#killed.resolve(128 + signal);
        if (channel.request.op === "stop") await this.#exit.promise;
        await answerCall(channel, channel.request.op === "stop" ? this.#state : undefined);
        return;
      }
      case "acknowledgeExit":
        this.#acknowledged.resolve();
        await answerCall(channel, undefined);
        return;
      case "configureNetwork":
      case "setPeers":
        this.#vsphere.told.push(channel.request);
        await answerCall(channel, undefined);
        return;
      case "diskFormat":
      case "diskUnmount":
        await answerCall(channel, undefined);
        return;
      case "diskMount":
        await answerCall(channel, { mount: "m1" });
        return;
      case "diskGrow":
        await answerCall(channel, { totalBytes: Math.max(0, ...this.#vsphere.grown.values()) });
        return;
      case "diskState":
        await answerCall(channel, null);
        return;
      default:
        throw new LinkError("unsupported", `${configuration.role}: ${channel.request.op}`);
    }
  }

  async #attach(channel: Channel): Promise<void> {
    const input = (async () => {
      let text = "";
      for await (const message of channel) {
        if (message.kind === "data") text += new TextDecoder().decode(message.bytes);
        if (message.kind === "end") break;
      }
      this.#input.resolve(text);
    })();
    input.catch(() => undefined);
    const code = await this.#exit.promise;
    for (const { stream, bytes } of this.#output) await channel.send(stream, bytes);
    await channel.control({ exited: code });
    channel.close();
    this.#delivered.resolve();
  }
}
