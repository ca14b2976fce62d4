import { notSupported } from "../fault.ts";
import type { Host } from "../inventory/host.ts";
import { data, type Reference } from "../model/data.ts";
import type { Method } from "../model/managed-object.ts";
import { HostPart } from "./host-part.ts";

/** Datastores are directories of this machine, which only who starts the lab may choose. */
export class DatastoreSystem extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      datastore: () => host.datastores.map((store) => store.reference),
      capabilities: () =>
        data("HostDatastoreSystemCapabilities", {
          nfsMountCreationRequired: true,
          nfsMountCreationSupported: false,
          localDatastoreSupported: false,
          vmfsExtentExpansionSupported: false,
        }),
    });
    const refuse: Method = () => {
      throw notSupported("datastores of the lab are named when it is started: vch lab --datastore NAME=DIRECTORY.");
    };
    this.methods({ CreateLocalDatastore: refuse, CreateNasDatastore: refuse, RemoveDatastore: refuse });
  }
}
