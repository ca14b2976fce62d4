/** A DHCP client (RFC 2131): gets an address, keeps it, and gives it back. */
import { randomInt } from "node:crypto";
import {
  BROADCAST_ADDRESS,
  BROADCAST_HARDWARE,
  type DhcpFrame,
  encodeDhcpFrame,
} from "../../../src/format/dhcp-frame.ts";
import {
  DHCP_TYPE,
  type DhcpReply,
  type DhcpRequest,
  decodeDhcpReply,
  encodeDhcpRequest,
} from "../../../src/format/dhcp-message.ts";
import { FormatError } from "../../../src/format/format-error.ts";
import { isValid, type Lease, leaseOf, sameSettings } from "./lease.ts";
import type { DhcpLink } from "./link.ts";

/** Milliseconds to wait for an answer, at each try. Quick at first: a container waits for it. */
const DISCOVER_WAITS = [1000, 2000, 4000, 8000];
const REQUEST_WAITS = [1000, 2000, 4000];
const REBOOT_WAITS = [1000, 2000];
const KEEP_WAITS = [2000, 4000];
/** Each wait is longer or shorter by a part of it, so that many clients do not ask in step. */
const JITTER = 0.1;
/** Milliseconds between rounds when a server refuses, or none is there: doubled up to the limit. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 64_000;
/** Answers looked at in one wait; more is a flood. */
const ANSWER_LIMIT = 64;
/** Seconds between tries to renew (RFC 2131, 4.4.5). */
const KEEP_INTERVAL = 60;
/** Milliseconds; a longer wait overflows the timer, and asking early does no harm. */
const LONGEST_TIMER = 20 * 24 * 3_600_000;
const NO_ADDRESS = "0.0.0.0";

export interface DhcpClientOptions {
  hardwareAddress: string;
  hostName: string;
  /** Opens an exchange whose answers carry this transaction. */
  open: (transaction: number) => DhcpLink;
  /** The lease of an earlier run: its address is asked for again. */
  earlier?: Lease;
  /** The lease is another one now, or is lost. Not called for the one that `acquire` resolves with. */
  onChange: (lease: Lease | undefined) => void;
  /** A lease was got or renewed: to be kept for the next start. */
  onKept: (lease: Lease) => void;
  log: (message: string) => void;
  /** Clock and waits of a test. */
  now?: () => number;
  sleep?: (milliseconds: number) => Promise<void>;
}

interface Answer {
  reply: DhcpReply;
  frame: DhcpFrame;
}

/** A refusal, or a lease that can be used. */
const isAnswer = ({ reply, frame }: Answer): boolean =>
  reply.type === DHCP_TYPE.nak || (reply.type === DHCP_TYPE.ack && leaseOf(reply, frame, 0) !== undefined);

export class DhcpClient {
  readonly #options: DhcpClientOptions;
  readonly #now: () => number;
  readonly #begun: number;
  #lease: Lease | undefined;
  /** What was had last: asked for again after it was lost or released. */
  #last: Lease | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #link: DhcpLink | undefined;
  #closed = false;
  #endPause = (): void => undefined;

  constructor(options: DhcpClientOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#begun = this.#now();
    this.#last = options.earlier;
  }

  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** Resolves with an address; rejects after so many milliseconds without one. Then it is kept until `release`. */
  async acquire(milliseconds: number): Promise<Lease> {
    const deadline = this.#now() + milliseconds;
    const earlier = this.#last && isValid(this.#last, this.#now()) ? this.#last : undefined;
    const rebooted = earlier && (await this.#reboot(earlier, deadline));
    const refused = rebooted === "refused";
    const lease = rebooted === undefined || refused ? await this.#discover(deadline) : rebooted;
    if (lease) return this.#bound(lease);
    // RFC 2131, 3.2: an address whose lease still runs may be used when no server answers.
    if (earlier && !refused && isValid(earlier, this.#now())) {
      this.#options.log(`no DHCP server answers: ${earlier.address} is used again, as its lease still runs`);
      return this.#bound(earlier);
    }
    throw new Error(`no DHCP server gave an address within ${Math.round(milliseconds / 1000)} s`);
  }

  /** Gives the address back and stops. */
  release(): void {
    const lease = this.#lease;
    this.close();
    if (lease === undefined) return;
    const transaction = randomInt(2 ** 32);
    const link = this.#options.open(transaction);
    link.send(
      this.#frame(
        {
          ...this.#request(DHCP_TYPE.release, transaction),
          clientAddress: lease.address,
          serverIdentifier: lease.server,
        },
        lease,
      ),
    );
    link.close();
  }

  /** Stops and leaves the lease to run out. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#lease = undefined;
    this.#endPause();
    this.#link?.close();
    this.#link = undefined;
  }

  #bound(lease: Lease): Lease {
    this.#lease = lease;
    this.#last = lease;
    this.#options.onKept(lease);
    this.#schedule(lease.renewal);
    return lease;
  }

  /** `seconds` after the lease was given. */
  #schedule(seconds: number): void {
    const lease = this.#lease;
    if (this.#closed || lease === undefined || seconds === Number.POSITIVE_INFINITY) return;
    const wait = Math.max(0, lease.obtained + seconds * 1000 - this.#now());
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#keep(lease), Math.min(wait, LONGEST_TIMER));
  }

  /** Renews from the server that gave the lease, later from any, and begins anew when it has run out. Never rejects. */
  async #keep(lease: Lease): Promise<void> {
    try {
      const age = (this.#now() - lease.obtained) / 1000;
      if (age >= lease.expiry) return await this.#lost("its lease has run out");
      const isRebinding = age >= lease.rebinding;
      const answer = await this.#exchange(
        KEEP_WAITS,
        lease.obtained + lease.expiry * 1000,
        (transaction) => ({ ...this.#request(DHCP_TYPE.request, transaction), clientAddress: lease.address }),
        ({ reply, frame }) =>
          isAnswer({ reply, frame }) &&
          (isRebinding || reply.serverIdentifier === lease.server || reply.type === DHCP_TYPE.ack),
        isRebinding ? undefined : lease,
        lease.address,
      );
      if (this.#closed) return;
      if (answer?.reply.type === DHCP_TYPE.nak)
        return await this.#lost(`the server took it back: ${answer.reply.message ?? "no reason given"}`);
      const renewed = answer && leaseOf(answer.reply, answer.frame, this.#now());
      if (renewed) {
        this.#bound(renewed);
        if (!sameSettings(lease, renewed)) this.#options.onChange(renewed);
        return;
      }
      const end = isRebinding ? lease.expiry : lease.rebinding;
      this.#schedule(Math.min(end, Math.max(age + (end - age) / 2, age + KEEP_INTERVAL)));
    } catch (error) {
      this.#options.log(`renewing ${lease.address}: ${error instanceof Error ? error.message : error}`);
      this.#schedule((this.#now() - lease.obtained) / 1000 + KEEP_INTERVAL);
    }
  }

  async #lost(reason: string): Promise<void> {
    this.#options.log(`the address ${this.#lease?.address} is lost: ${reason}`);
    this.#lease = undefined;
    this.#options.onChange(undefined);
    const lease = await this.#discover(Number.POSITIVE_INFINITY);
    if (lease === undefined) return;
    this.#bound(lease);
    this.#options.onChange(lease);
  }

  /** INIT-REBOOT: is the earlier address still good here? */
  async #reboot(earlier: Lease, deadline: number): Promise<Lease | "refused" | undefined> {
    const answer = await this.#exchange(
      REBOOT_WAITS,
      deadline,
      (transaction) => ({ ...this.#request(DHCP_TYPE.request, transaction), requestedAddress: earlier.address }),
      ({ reply, frame }) => isAnswer({ reply, frame }),
    );
    if (answer?.reply.type === DHCP_TYPE.nak) return "refused";
    return answer && leaseOf(answer.reply, answer.frame, this.#now());
  }

  async #discover(deadline: number): Promise<Lease | undefined> {
    const wanted = this.#last?.address;
    for (let pause = FIRST_PAUSE; !this.#closed && this.#now() < deadline; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      const offer = await this.#exchange(
        DISCOVER_WAITS,
        deadline,
        (transaction) => ({
          ...this.#request(DHCP_TYPE.discover, transaction),
          ...(wanted === undefined ? {} : { requestedAddress: wanted }),
        }),
        ({ reply, frame }) =>
          reply.type === DHCP_TYPE.offer && leaseOf({ leaseSeconds: 0, ...reply }, frame, 0) !== undefined,
      );
      const { address = "", serverIdentifier = "" } = offer?.reply ?? {};
      const answer = offer && (await this.#ask(address, serverIdentifier, deadline));
      const lease = answer?.reply.type === DHCP_TYPE.ack ? leaseOf(answer.reply, answer.frame, this.#now()) : undefined;
      if (lease) return lease;
      if (answer) this.#options.log(`a DHCP server refuses ${address}: ${answer.reply.message ?? "no reason given"}`);
      await this.#pause(Math.min(pause, deadline - this.#now()));
    }
    return undefined;
  }

  #ask(address: string, server: string, deadline: number): Promise<Answer | undefined> {
    return this.#exchange(
      REQUEST_WAITS,
      deadline,
      (transaction) => ({
        ...this.#request(DHCP_TYPE.request, transaction),
        requestedAddress: address,
        serverIdentifier: server,
      }),
      ({ reply, frame }) => isAnswer({ reply, frame }) && reply.serverIdentifier === server,
    );
  }

  #request(type: DhcpRequest["type"], transaction: number): DhcpRequest {
    const { hardwareAddress, hostName } = this.#options;
    return { type, transaction, seconds: (this.#now() - this.#begun) / 1000, hardwareAddress, hostName };
  }

  /** To a server and from an address when both are known, else to all. */
  #frame(request: DhcpRequest, to?: Lease, from = to?.address): Uint8Array {
    return encodeDhcpFrame({
      sourceHardware: this.#options.hardwareAddress,
      targetHardware: to?.serverHardware ?? BROADCAST_HARDWARE,
      sourceAddress: from ?? NO_ADDRESS,
      targetAddress: to?.server ?? BROADCAST_ADDRESS,
      message: encodeDhcpRequest(request),
    });
  }

  /** Sends again and again until an answer fits; undefined when none did. */
  async #exchange(
    waits: readonly number[],
    deadline: number,
    make: (transaction: number) => DhcpRequest,
    fits: (answer: Answer) => boolean,
    to?: Lease,
    from?: string,
  ): Promise<Answer | undefined> {
    if (this.#closed) return undefined;
    const transaction = randomInt(2 ** 32);
    const link = this.#options.open(transaction);
    this.#link = link;
    try {
      for (const wait of waits) {
        link.send(this.#frame(make(transaction), to, from));
        const jittered = wait * (1 + JITTER * (Math.random() * 2 - 1));
        const until = Math.min(this.#now() + jittered, deadline);
        for (let answers = 0; ; answers++) {
          // A flood: whatever else comes is not looked at before the next try.
          if (answers === ANSWER_LIMIT) {
            await this.#pause(until - this.#now());
            break;
          }
          const left = until - this.#now();
          const frame = left > 0 ? await link.receive(left) : undefined;
          if (this.#closed) return undefined;
          if (frame === undefined) break;
          const answer = this.#read(frame, transaction);
          if (answer && fits(answer)) return answer;
        }
        if (this.#now() >= deadline) return undefined;
      }
      return undefined;
    } finally {
      if (this.#link === link) {
        link.close();
        this.#link = undefined;
      }
    }
  }

  #read(frame: DhcpFrame, transaction: number): Answer | undefined {
    try {
      const reply = decodeDhcpReply(frame.message);
      const isMine = reply.transaction === transaction && reply.hardwareAddress === this.#options.hardwareAddress;
      return isMine ? { reply, frame } : undefined;
    } catch (error) {
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    if (milliseconds <= 0 || this.#closed) return;
    if (this.#options.sleep) return await this.#options.sleep(milliseconds);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
