/** A QMP connection: commands with a time limit, and events. */
import type { Socket } from "node:net";
import { connect } from "node:net";
import type { QmpObject } from "../qemu/block-nodes.ts";
import { parseQmpMessage, QmpLines } from "./qmp-parser.ts";

/** QEMU answers within this many milliseconds or is given up; a busy host can make even small commands slow. */
export const QMP_COMMAND_TIMEOUT_MS = 30_000;
/** Commands under way at once. */
const PENDING_LIMIT = 256;

/** QEMU refused a command. `class` is QMP's error class: GenericError, DeviceNotFound … */
export class QmpCommandError extends Error {
  override readonly name = "QmpCommandError";
  constructor(
    readonly command: string,
    readonly errorClass: string,
    readonly description: string,
  ) {
    super(`QEMU refused ${command}: ${description}`);
  }
}

export interface QmpEvent {
  name: string;
  data: QmpObject;
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: Timer;
}

export class QmpClient {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #lines = new QmpLines();
  readonly #greeting = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  #open = true;
  #nextId = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#greeting.promise.catch(() => undefined);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(new Error("QEMU closed the QMP connection")));
  }

  /** Take over a connected socket; resolves when commands may be sent. */
  static async overSocket(socket: Socket): Promise<QmpClient> {
    const client = new QmpClient(socket);
    const timer = setTimeout(() => socket.destroy(new Error("QEMU sent no QMP greeting")), QMP_COMMAND_TIMEOUT_MS);
    try {
      await client.#greeting.promise;
    } finally {
      clearTimeout(timer);
    }
    await client.execute("qmp_capabilities");
    return client;
  }

  static async connect(path: string): Promise<QmpClient> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return QmpClient.overSocket(socket);
  }

  /** Resolves, never rejects, when the connection is over. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Returns the function that ends the subscription. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Rejects with QmpCommandError when QEMU refuses, with Error when the connection ends or nothing comes in time. */
  execute(command: string, parameters: QmpObject = {}, timeoutMilliseconds = QMP_COMMAND_TIMEOUT_MS): Promise<unknown> {
    if (!this.#open) return Promise.reject(new Error(`cannot ${command}: the QMP connection is closed`));
    if (this.#pending.size >= PENDING_LIMIT)
      return Promise.reject(new Error(`cannot ${command}: too many QMP commands under way`));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error(`QEMU did not answer ${command} within ${timeoutMilliseconds} ms`));
      }, timeoutMilliseconds);
      this.#pending.set(id, { command, resolve, reject, timer });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: parameters, id })}\n`);
    });
  }

  /** Resolves with the first matching event; rejects at the limit or when the connection ends. */
  waitFor(what: string, matches: (event: QmpEvent) => boolean, timeoutMilliseconds: number): Promise<QmpEvent> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        unsubscribe();
        settle();
      };
      const unsubscribe = this.onEvent((event) => {
        if (matches(event)) done(() => resolve(event));
      });
      const timer = setTimeout(
        () => done(() => reject(new Error(`${what} did not happen within ${timeoutMilliseconds} ms`))),
        timeoutMilliseconds,
      );
      this.closed.then(() => done(() => reject(new Error(`QEMU ended while waiting: ${what}`))));
    });
  }

  close(): void {
    this.#socket.destroy();
    this.#end(new Error("the QMP connection was closed"));
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#dispatch(line);
    } catch (error) {
      this.#socket.destroy();
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #dispatch(line: string): void {
    const message = parseQmpMessage(line);
    if (message.kind === "greeting") {
      this.#greeting.resolve();
      return;
    }
    if (message.kind === "event") {
      for (const listener of [...this.#listeners]) listener(message);
      return;
    }
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (message.id === undefined || pending === undefined) return;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.kind === "return") pending.resolve(message.value);
    else pending.reject(new QmpCommandError(pending.command, message.class, message.description));
  }

  #end(error: Error): void {
    if (!this.#open) return;
    this.#open = false;
    this.#greeting.reject(error);
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(new Error(`QEMU ended during ${pending.command}: ${error.message}`));
    }
    this.#pending.clear();
    this.#closed.resolve();
  }
}
