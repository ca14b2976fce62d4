import type { Host } from "../inventory/host.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

/** One of the managers of a host, which has the host's permissions. */
export abstract class HostPart extends ManagedObject {
  constructor(
    protected readonly host: Host,
    reference: Reference,
  ) {
    super(host.registry, reference);
  }

  override get authority(): ManagedObject {
    return this.host;
  }
}
