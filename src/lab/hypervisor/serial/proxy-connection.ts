/** A host's connection to a virtual serial port concentrator, for one serial port: telnet with VMware's extension, the host's side. */
import { connect, type Socket } from "node:net";
import {
  ALL_SUBOPTIONS,
  encodeProxyRequest,
  encodeSuboption,
  encodeTelnetData,
  hostUuid,
  parseSuboption,
  type Suboption,
  SUBOPTION,
  TELNET_OPTION,
  TelnetDecoder,
  type TelnetEvent,
  TelnetOptions,
} from "../../../format/telnet/index.ts";

/** Milliseconds until the proxy has accepted the port. */
const ACCEPT_LIMIT = 10_000;

export interface ProxiedService {
  proxyUri: string;
  serviceUri: string;
  direction: "client" | "server";
  vm: { name: string; uuid: string };
}

export interface ProxyUser {
  /** Bytes for the VM. */
  data(bytes: Uint8Array): void;
  /** The connection takes bytes again. */
  drained(): void;
  closed(reason: string): void;
}

/** Host and port of a proxy. Throws with the reason for anything but `telnet://host:port`. */
export const proxyAddress = (uri: string): { host: string; port: number } => {
  const match = /^telnet:\/\/(\[[0-9a-fA-F:]+\]|[^:/#?]+):(\d{1,5})\/?$/.exec(uri);
  const port = Number(match?.[2]);
  if (match === null || port < 1 || port > 65_535)
    throw new Error(`proxy URI ${JSON.stringify(uri)} is not supported; use telnet://host:port`);
  return { host: (match[1] ?? "").replace(/^\[|\]$/g, ""), port };
};

export class ProxyConnection {
  readonly #service: ProxiedService;
  readonly #user: ProxyUser;
  readonly #socket: Socket;
  readonly #decoder = new TelnetDecoder();
  readonly #options: TelnetOptions;
  readonly #accepted = Promise.withResolvers<void>();
  readonly #timer: ReturnType<typeof setTimeout>;
  #waiting: { suboptions: ReadonlySet<number>; answer(suboption: Suboption, payload: Uint8Array): void } | undefined;
  #over = false;

  constructor(service: ProxiedService, user: ProxyUser) {
    this.#service = service;
    this.#user = user;
    this.#accepted.promise.catch(() => undefined);
    this.#socket = connect({ ...proxyAddress(service.proxyUri), noDelay: true });
    this.#options = new TelnetOptions(
      (bytes) => this.#socket.write(bytes),
      (side, option) => side === "ours" && option === TELNET_OPTION.vmwareExtension,
    );
    this.#timer = setTimeout(() => this.#end("the proxy did not accept the port"), ACCEPT_LIMIT);
    this.#socket.on("connect", () => this.#options.beginBinary());
    this.#socket.on("data", (bytes: Buffer) => this.#received(bytes));
    this.#socket.on("drain", () => user.drained());
    this.#socket.on("error", (error) => this.#end(error.message));
    this.#socket.on("close", () => this.#end("the proxy has closed the connection"));
  }

  /** Resolves when the proxy has accepted the port; rejects when it does not come to that. */
  get accepted(): Promise<void> {
    return this.#accepted.promise;
  }

  /** False when the VM has to wait until `drained`. */
  write(bytes: Uint8Array): boolean {
    return this.#over || this.#socket.write(encodeTelnetData(bytes));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#end("closed");
  }

  say(suboption: Suboption, payload?: Uint8Array): void {
    if (!this.#over) this.#socket.write(encodeSuboption(suboption, payload));
  }

  /** Says something and waits for one of the answers. Rejects when none comes in time, or the connection ends. */
  async ask(
    suboption: Suboption,
    payload: Uint8Array,
    answers: readonly Suboption[],
    limit: number,
  ): Promise<{ suboption: Suboption; payload: Uint8Array }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ suboption: Suboption; payload: Uint8Array }>();
    const timer = setTimeout(() => reject(new Error(`the proxy did not answer within ${limit} ms`)), limit);
    this.#socket.once("close", () => reject(new Error("the proxy has closed the connection")));
    this.#waiting = {
      suboptions: new Set(answers),
      answer: (suboption, payload) => resolve({ suboption, payload }),
    };
    this.say(suboption, payload);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #received(bytes: Uint8Array): void {
    try {
      this.#decoder.push(bytes, (event) => this.#event(event));
    } catch (error) {
      this.#end(error instanceof Error ? error.message : String(error));
    }
  }

  #event(event: TelnetEvent): void {
    if (this.#over) return;
    if (event.kind === "data") this.#user.data(event.bytes);
    else if (event.kind === "option") {
      this.#options.received(event);
      if (event.verb === "do" && event.option === TELNET_OPTION.vmwareExtension)
        this.say(SUBOPTION.knownByVm, Uint8Array.from(ALL_SUBOPTIONS));
    } else if (event.option === TELNET_OPTION.vmwareExtension) this.#suboption(event.bytes);
  }

  #suboption(bytes: Uint8Array): void {
    const parsed = parseSuboption(bytes);
    if (!parsed.known) {
      this.say(SUBOPTION.unknownToVm, Uint8Array.of(parsed.suboption));
      return;
    }
    const { suboption, payload } = parsed;
    const { vm, direction, serviceUri } = this.#service;
    const text = (value: string): Uint8Array => new TextEncoder().encode(value);
    switch (suboption) {
      case SUBOPTION.knownByProxy:
        this.#socket.write(encodeProxyRequest(direction, serviceUri));
        return;
      case SUBOPTION.willProxy:
        clearTimeout(this.#timer);
        this.#accepted.resolve();
        return;
      case SUBOPTION.wontProxy:
        this.#end(`the proxy refuses ${serviceUri}`);
        return;
      case SUBOPTION.getVmVcUuid:
        this.say(SUBOPTION.vmVcUuid, text(hostUuid(vm.uuid)));
        return;
      case SUBOPTION.getVmBiosUuid:
        this.say(SUBOPTION.vmBiosUuid, text(hostUuid(vm.uuid)));
        return;
      case SUBOPTION.getVmName:
        this.say(SUBOPTION.vmName, text(vm.name));
        return;
      case SUBOPTION.getVmLocationUuid:
        // The lab's hosts are one machine: VMs have no location but themselves.
        this.say(SUBOPTION.vmLocationUuid, text(hostUuid(vm.uuid)));
        return;
      default:
        if (this.#waiting?.suboptions.has(suboption)) this.#waiting.answer(suboption, payload);
    }
  }

  #end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#accepted.reject(new Error(reason));
    this.#socket.destroy();
    this.#user.closed(reason);
  }
}
