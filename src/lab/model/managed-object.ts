import { LabFault } from "../fault.ts";
import type { Session } from "../session/sessions.ts";
import { type DataObject, type Reference, referenceKey } from "./data.ts";
import type { Registry } from "./registry.ts";

/** One method call as a managed object sees it. */
export interface Call {
  readonly method: string;
  /** Undefined for the few methods that need no login. */
  readonly session: Session | undefined;
  /** Ends when the client hangs up or the session ends. */
  readonly signal: AbortSignal;
  /** Session cookie of a fresh login, to be sent with the reply. */
  newCookie?: string;
  readonly client: { address: string; userAgent: string };
}

/** Parameters by name, already checked against the schema. */
export type Parameters = Readonly<Record<string, unknown>>;
export type Getter = (session: Session | undefined) => unknown;
export type Method = (parameters: Parameters, call: Call) => unknown;

/** A managed object: a reference, properties that are computed when read, and methods. */
export abstract class ManagedObject {
  readonly key: string;
  readonly #properties = new Map<string, Getter>();
  readonly #methods = new Map<string, Method>();

  constructor(
    readonly registry: Registry,
    readonly reference: Reference,
  ) {
    this.key = referenceKey(reference);
  }

  /** The value of a property as the session sees it; undefined when it is unset or this object does not have it. */
  read(property: string, session?: Session): unknown {
    if (session && !this.isVisibleTo(session)) return undefined;
    return this.#properties.get(property)?.(session);
  }

  /** May the session's user know of this object? */
  isVisibleTo(_session: Session): boolean {
    return true;
  }

  /** The object whose permissions count for this one; unset for those of the whole inventory. */
  get authority(): ManagedObject | undefined {
    return undefined;
  }

  findMethod(name: string): Method | undefined {
    return this.#methods.get(name);
  }

  /** Says that these properties may have new values; watchers compare and get the difference at once. */
  changed(...properties: string[]): void {
    this.registry.notify({ kind: "changed", object: this, properties });
  }

  protected properties(getters: Record<string, Getter>): void {
    for (const [name, getter] of Object.entries(getters)) this.#properties.set(name, getter);
  }

  protected methods(methods: Record<string, Method>): void {
    for (const [name, method] of Object.entries(methods)) this.#methods.set(name, method);
  }
}

export function sessionOf(call: Call): Session {
  if (!call.session) throw new LabFault("NotAuthenticated", "The session is not authenticated.");
  return call.session;
}

export type { DataObject, Reference };
