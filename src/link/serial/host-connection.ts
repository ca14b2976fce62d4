import { type Suboption, SUBOPTION, TELNET_OPTION } from "../../format/telnet/index.ts";
import {
  ALL_SUBOPTIONS,
  encodeSuboption,
  encodeTelnetData,
  parseProxyRequest,
  parseSuboption,
  SEQUENCE_LIMIT,
  suboptionText,
  suboptionUuid,
  TelnetDecoder,
  TelnetOptions,
} from "../../format/telnet/index.ts";
import type { LinePort } from "./line-connection.ts";

/** Bytes that wait for a host that does not read before its connection is given up. */
const OUTPUT_LIMIT = 256 * 1024;
const NAME_LIMIT = 80;

/** What a concentrator makes of what a host says. */
export interface HostEvents {
  /** The host has told whose port this is. */
  identified(connection: HostConnection): void;
  data(connection: HostConnection, bytes: Uint8Array): void;
  /** The VM is about to move; answers with the secret, or undefined when it must not now. */
  moveBegins(connection: HostConnection, sequence: Uint8Array): Uint8Array | undefined;
  /** A new host shows sequence and secret: is it the one that the move was granted to? */
  movePeer(connection: HostConnection, cookie: Uint8Array): boolean;
  moveComplete(connection: HostConnection): void;
  moveAborted(connection: HostConnection): void;
}

/** The socket below. */
export interface HostSocket {
  /** Returns how many bytes were taken. */
  write(bytes: Uint8Array): number;
  close(): void;
}

/** One host's connection for one VM's serial port: the proxy's side of telnet and of VMware's extension. */
export class HostConnection implements LinePort {
  /** The VM's UUID in vCenter, or its BIOS UUID from hosts that do not tell the other. */
  uuid: string | undefined;
  name = "";
  readonly #socket: HostSocket;
  readonly #events: HostEvents;
  readonly #serviceUri: string;
  readonly #decoder = new TelnetDecoder();
  readonly #options: TelnetOptions;
  #queue: Uint8Array[] = [];
  #queued = 0;
  #asked = false;
  #closed = false;

  constructor(socket: HostSocket, serviceUri: string, events: HostEvents) {
    this.#socket = socket;
    this.#serviceUri = serviceUri;
    this.#events = events;
    this.#options = new TelnetOptions(
      (bytes) => this.#send(bytes),
      (side, option) => side === "theirs" && option === TELNET_OPTION.vmwareExtension,
    );
    this.#options.beginBinary();
    this.#options.begin([{ verb: "do", option: TELNET_OPTION.vmwareExtension }]);
  }

  get isBusy(): boolean {
    return this.#queued > 0;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Bytes for the VM's serial port. */
  write(bytes: Uint8Array): void {
    this.#send(encodeTelnetData(bytes));
  }

  /** Bytes from the host. Throws FormatError when they break the protocol; the connection is to be closed then. */
  received(bytes: Uint8Array): void {
    this.#decoder.push(bytes, (event) => {
      if (this.#closed) return;
      if (event.kind === "data") this.#events.data(this, event.bytes);
      else if (event.kind === "option") {
        this.#options.received(event);
        const isExtension = event.option === TELNET_OPTION.vmwareExtension;
        if (isExtension && event.verb === "wont") this.close();
      } else if (event.option === TELNET_OPTION.vmwareExtension) this.#suboption(event.bytes);
    });
  }

  drained(): void {
    while (this.#queue.length > 0) {
      const first = this.#queue[0] ?? new Uint8Array(0);
      const taken = this.#socket.write(first);
      this.#queued -= taken;
      if (taken < first.length) {
        this.#queue[0] = first.subarray(taken);
        return;
      }
      this.#queue.shift();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#queued = 0;
    this.#socket.close();
  }

  #suboption(bytes: Uint8Array): void {
    const parsed = parseSuboption(bytes);
    if (!parsed.known) {
      this.#say(SUBOPTION.unknownToProxy, Uint8Array.of(parsed.suboption));
      return;
    }
    const { suboption, payload } = parsed;
    switch (suboption) {
      case SUBOPTION.knownByVm:
        this.#say(SUBOPTION.knownByProxy, Uint8Array.from(ALL_SUBOPTIONS));
        this.#say(payload.includes(SUBOPTION.getVmVcUuid) ? SUBOPTION.getVmVcUuid : SUBOPTION.getVmBiosUuid);
        if (payload.includes(SUBOPTION.getVmName)) this.#say(SUBOPTION.getVmName);
        return;
      case SUBOPTION.unknownToVm:
        if (payload[0] === SUBOPTION.getVmVcUuid && !this.#asked) {
          this.#asked = true;
          this.#say(SUBOPTION.getVmBiosUuid);
        }
        return;
      case SUBOPTION.vmName:
        this.name = suboptionText(payload).slice(0, NAME_LIMIT);
        return;
      case SUBOPTION.vmVcUuid:
      case SUBOPTION.vmBiosUuid:
        if (this.uuid !== undefined) return;
        this.uuid = suboptionUuid(payload);
        this.#events.identified(this);
        return;
      case SUBOPTION.doProxy:
        this.#proxyRequest(payload);
        return;
      default:
        this.#move(suboption, payload);
    }
  }

  #proxyRequest(payload: Uint8Array): void {
    const { uri } = parseProxyRequest(payload);
    if (uri === this.#serviceUri) this.#say(SUBOPTION.willProxy);
    else {
      this.#say(SUBOPTION.wontProxy);
      this.close();
    }
  }

  #move(suboption: Suboption, payload: Uint8Array): void {
    switch (suboption) {
      case SUBOPTION.vmotionBegin: {
        const sequence = payload.slice(0, SEQUENCE_LIMIT);
        const secret = this.#events.moveBegins(this, sequence);
        const answer = secret === undefined ? SUBOPTION.vmotionNotNow : SUBOPTION.vmotionGoAhead;
        this.#say(answer, Uint8Array.of(...sequence, ...(secret ?? [])));
        return;
      }
      case SUBOPTION.vmotionPeer:
        if (this.#events.movePeer(this, payload)) this.#say(SUBOPTION.vmotionPeerOk, payload);
        else this.close();
        return;
      case SUBOPTION.vmotionComplete:
        this.#events.moveComplete(this);
        return;
      case SUBOPTION.vmotionAbort:
        this.#events.moveAborted(this);
        return;
      default:
      // What a proxy says itself means nothing from a host.
    }
  }

  #say(suboption: Suboption, payload?: Uint8Array): void {
    this.#send(encodeSuboption(suboption, payload));
  }

  #send(bytes: Uint8Array): void {
    if (this.#closed) return;
    const taken = this.#queued === 0 ? this.#socket.write(bytes) : 0;
    if (taken === bytes.length) return;
    this.#queue.push(bytes.subarray(taken));
    this.#queued += bytes.length - taken;
    if (this.#queued > OUTPUT_LIMIT) this.close();
  }
}
