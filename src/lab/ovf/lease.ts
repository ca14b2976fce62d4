import { createHash, randomUUID } from "node:crypto";
import { invalidArgument, LabFault, localizedFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Entity } from "../inventory/entity.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

/** A lease ends when it is not renewed (by progress or a transfer) for this long. */
const TIMEOUT_SECONDS = 300;

export interface LeaseDevice {
  /** Name in the OVF package: `importKey`. */
  importKey: string;
  /** Name in the URL. */
  fileName: string;
  /** The disk's file and its datastore path. */
  path: string;
  capacityKB: number;
}

type State = "initializing" | "ready" | "done" | "error";

/** HttpNfcLease: the right to read or write a VM's disks at `/nfc/<lease>/<file>` for a while. Whoever knows the URL has it. */
export class HttpNfcLease extends ManagedObject {
  #state: State = "initializing";
  #fault: LabFault | undefined;
  #entity: Entity | undefined;
  #devices: readonly LeaseDevice[] = [];
  #progress = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #checksumTypes = new Map<string, "sha1" | "sha256">();
  readonly #manifest = new Map<string, { sha1: string; sha256: string; size: number; capacity: number }>();

  constructor(
    private readonly context: LabContext,
    reference: Reference,
    readonly kind: "import" | "export",
    /** What becomes of the VM: `completed` or given up. */
    private readonly ended: (completed: boolean) => Promise<void>,
  ) {
    super(context.registry, reference);
    this.properties({
      state: () => this.#state,
      initializeProgress: () => (this.#state === "initializing" ? 0 : 100),
      transferProgress: () => this.#progress,
      mode: () => "pushOrGet",
      capabilities: () => data("HttpNfcLeaseCapabilities", { pullModeSupported: false, corsSupported: false }),
      info: () => this.#info(),
      error: () => this.#fault && localizedFault(this.#fault),
    });
    this.methods({
      HttpNfcLeaseProgress: (p) => {
        this.#requireReady();
        this.#progress = Math.min(Math.max(p.percent as number, 0), 100);
        this.renew();
        this.changed("transferProgress");
      },
      HttpNfcLeaseComplete: () => this.#end(true),
      HttpNfcLeaseAbort: () => this.#end(false),
      HttpNfcLeaseGetManifest: () => {
        this.#requireReady();
        return [...this.#manifest].map(([key, { sha1, sha256, size, capacity }]) =>
          data("HttpNfcLeaseManifestEntry", {
            key,
            sha1,
            ...this.#checksum(key, { sha1, sha256 }),
            size,
            disk: true,
            capacity,
            populatedSize: size,
          }),
        );
      },
      HttpNfcLeaseSetManifestChecksumType: (p) =>
        this.#setChecksumTypes((p.deviceUrlsToChecksumTypes ?? []) as DataObject[]),
    });
  }

  override get authority(): ManagedObject | undefined {
    return this.#entity;
  }

  ready(entity: Entity, devices: readonly LeaseDevice[]): void {
    this.#entity = entity;
    this.#devices = devices;
    this.#state = "ready";
    this.renew();
    this.changed("state", "info", "initializeProgress");
  }

  fail(fault: LabFault): void {
    this.#state = "error";
    this.#fault = fault;
    this.changed("state", "error");
  }

  /** The device behind a file name of a URL; undefined when the lease is over or has no such device. */
  device(fileName: string): LeaseDevice | undefined {
    return this.#state === "ready" ? this.#devices.find((device) => device.fileName === fileName) : undefined;
  }

  renew(): void {
    clearTimeout(this.#timer);
    if (this.#state !== "ready") return;
    this.#timer = setTimeout(() => {
      this.#fault = new LabFault("Timedout", "The lease was not renewed in time.");
      this.#end(false).catch((error: unknown) =>
        this.context.log(`lease: ${error instanceof Error ? error.message : error}`),
      );
    }, TIMEOUT_SECONDS * 1000);
    this.#timer.unref();
  }

  /** Watches what is sent for the manifest. */
  async *measured(device: LeaseDevice, stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const [sha1, sha256] = [createHash("sha1"), createHash("sha256")];
    let size = 0;
    for await (const chunk of stream) {
      sha1.update(chunk);
      sha256.update(chunk);
      size += chunk.length;
      this.renew();
      yield chunk;
    }
    const entry = { sha1: sha1.digest("hex"), sha256: sha256.digest("hex"), size, capacity: device.capacityKB * 1024 };
    this.#manifest.set(device.importKey, entry);
  }

  /** By the key of a device's URL. `sha256` where the client has chosen nothing. */
  #setChecksumTypes(choices: readonly DataObject[]): void {
    this.#requireReady();
    for (const { key, value } of choices) {
      const known = this.#devices.some(({ importKey }) => importKey === key);
      if (!known || (value !== "sha1" && value !== "sha256"))
        throw invalidArgument("deviceUrlsToChecksumTypes", `There is no ${String(value)} for '${String(key)}'.`);
    }
    for (const { key, value } of choices) this.#checksumTypes.set(String(key), value as "sha1" | "sha256");
  }

  #checksum(key: string, sums: { sha1: string; sha256: string }) {
    const checksumType = this.#checksumTypes.get(key) ?? "sha256";
    return { checksum: sums[checksumType], checksumType };
  }

  #requireReady(): void {
    if (this.#state === "ready") return;
    if (this.#fault) throw this.#fault;
    throw new LabFault("InvalidState", `The lease is not ready but ${this.#state}.`);
  }

  async #end(completed: boolean): Promise<void> {
    this.#requireReady();
    clearTimeout(this.#timer);
    this.#state = completed ? "done" : "error";
    this.#fault ??= completed ? undefined : new LabFault("RequestCanceled", "The lease was aborted.");
    this.changed("state", "error");
    this.registry.remove(this);
    await this.ended(completed);
  }

  #info(): DataObject | undefined {
    const { context } = this;
    if (this.#state === "initializing" || !this.#entity) return undefined;
    return data("HttpNfcLeaseInfo", {
      lease: this.reference,
      entity: this.#entity.reference,
      deviceUrl: this.#devices.map(({ importKey, fileName }) =>
        data("HttpNfcLeaseDeviceUrl", {
          key: importKey,
          importKey,
          // `*`: the host that the client talks to.
          url: `https://*:${context.listen.port}/nfc/${this.reference.value}/${fileName}`,
          sslThumbprint: context.certificate.thumbprint,
          disk: true,
          targetId: fileName,
        }),
      ),
      totalDiskCapacityInKB: this.#devices.reduce((sum, { capacityKB }) => sum + capacityKB, 0),
      leaseTimeout: TIMEOUT_SECONDS,
    });
  }
}

export const newLeaseReference = (): Reference => ({ type: "HttpNfcLease", value: `session-${randomUUID()}` });
