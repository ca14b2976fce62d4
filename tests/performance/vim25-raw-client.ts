/** A vim25 client that costs next to nothing: requests are ready text, answers are looked at as text. One session each. */
import type { VSphereTarget } from "../../src/vsphere/index.ts";
import {
  encodeRequest,
  type ManagedObjectReference,
  type MethodName,
  type Parameters,
  type ServiceContent,
  soapAction,
} from "../../src/vsphere/vim25/index.ts";

/** Newest version that all of the servers speak. */
const VERSION = "7.0.0.0";

/** The request as text, to be sent many times. */
export const prepare = <M extends MethodName>(
  method: M,
  on: ManagedObjectReference,
  parameters: Parameters<M>,
): string => encodeRequest(method, on as never, parameters, { version: VERSION });

export class RawClient {
  #cookie = "";

  private constructor(
    readonly url: string,
    readonly content: ServiceContent,
  ) {}

  static async login({ url, username, password }: VSphereTarget, content: ServiceContent): Promise<RawClient> {
    const client = new RawClient(url, content);
    const parameters = { userName: username, password };
    await client.send(prepare("Login", manager(content), parameters));
    return client;
  }

  async logout(): Promise<void> {
    await this.send(prepare("Logout", manager(this.content), {}));
  }

  /** The answer's text. Rejects on a fault. */
  async send(body: string): Promise<string> {
    const response = await fetch(this.url, {
      method: "POST",
      body,
      headers: {
        "Content-Type": "text/xml; charset=utf-8",
        SOAPAction: `"${soapAction(VERSION)}"`,
        Cookie: this.#cookie,
        "Accept-Encoding": "identity",
      },
      tls: { rejectUnauthorized: false },
    });
    const cookie = response.headers.get("set-cookie");
    if (cookie) this.#cookie = cookie.split(";", 1)[0] ?? "";
    const text = await response.text();
    if (response.status !== 200) throw new Error(/<faultstring>([^<]*)/.exec(text)?.[1] ?? `status ${response.status}`);
    return text;
  }

  /** The reference that a call returns. */
  async reference(body: string): Promise<ManagedObjectReference> {
    const [, type, value] = /<returnval type="(\w+)"[^>]*>([^<]*)</.exec(await this.send(body)) ?? [];
    if (type === undefined || value === undefined) throw new Error("no reference in the answer");
    return { type, value };
  }
}

function manager({ sessionManager }: ServiceContent): ManagedObjectReference {
  if (!sessionManager) throw new Error("no session manager");
  return sessionManager;
}

/** A filter on every VM below the root folder, in a session of its own, and its long poll. */
export class RawWatcher {
  #version = "";
  #ended = false;
  readonly #seen = new Set<string>();
  readonly #waiting = new Map<string, () => void>();
  readonly #polling: Promise<void>;
  readonly #first = Promise.withResolvers<void>();

  private constructor(
    private readonly client: RawClient,
    private readonly collector: ManagedObjectReference,
    private readonly objects: number,
  ) {
    this.#polling = this.#poll();
    // After the first set, a lost poll shows as a change that is never told.
    this.#polling.catch(this.#first.reject);
    this.#first.promise.catch(() => undefined);
  }

  /** @param objects VMs that there are: with as many told, the first set is complete */
  static async open(target: VSphereTarget, content: ServiceContent, pathSet: string[], objects: number) {
    const client = await RawClient.login(target, content);
    const { viewManager, rootFolder, propertyCollector } = content;
    if (!viewManager) throw new Error("no view manager");
    const view = await client.reference(
      prepare("CreateContainerView", viewManager, { container: rootFolder, type: ["VirtualMachine"], recursive: true }),
    );
    const collector = await client.reference(prepare("CreatePropertyCollector", propertyCollector, {}));
    const spec = {
      propSet: [{ type: "VirtualMachine", pathSet }],
      objectSet: [
        {
          obj: view,
          skip: true,
          selectSet: [{ _type: "TraversalSpec" as const, type: "ContainerView", path: "view", skip: false }],
        },
      ],
    };
    await client.reference(prepare("CreateFilter", collector, { spec, partialUpdates: false }));
    return new RawWatcher(client, collector, objects);
  }

  /** Resolves when the first set is complete. */
  get ready(): Promise<void> {
    return this.#first.promise;
  }

  /** Resolves when something of the object is told. Asked before the change. */
  told(object: ManagedObjectReference): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(object.value, resolve));
  }

  async #poll(): Promise<void> {
    while (!this.#ended) {
      const text = await this.client.send(
        prepare("WaitForUpdatesEx", this.collector, {
          version: this.#version,
          options: { maxWaitSeconds: 50, maxObjectUpdates: 100 },
        }),
      );
      this.#version = /<version>([^<]*)</.exec(text)?.[1] ?? this.#version;
      for (const [, value = ""] of text.matchAll(/<obj type="VirtualMachine"[^>]*>([^<]*)</g)) {
        this.#seen.add(value);
        this.#waiting.get(value)?.();
        this.#waiting.delete(value);
      }
      if (this.#seen.size >= this.objects) this.#first.resolve();
    }
  }

  /** Ends its poll by the API's own way and then its session: vcsim stands still for ever when a poll is just cut off. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.client.send(prepare("CancelWaitForUpdates", this.collector, {}));
    await this.#polling.catch(() => undefined);
    await this.client.logout();
  }
}
