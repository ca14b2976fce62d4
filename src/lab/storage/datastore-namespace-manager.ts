import { mkdir } from "node:fs/promises";
import {
  fileAlreadyExists,
  fileNotFound,
  invalidArgument,
  invalidDatastorePath,
  LabFault,
  notSupported,
} from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { Datastore } from "../inventory/datastore.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject, sessionOf } from "../model/managed-object.ts";
import { removeFile } from "./file-operations.ts";
import { fileOf, locate, requireFilePrivilege } from "./storage-context.ts";

const NAME_LIMIT = 42;

/** Directories at the top of a datastore, by the names that vSAN and vVol datastores need a manager for. */
export class DatastoreNamespaceManager extends ManagedObject {
  constructor(context: LabContext, reference: Reference) {
    super(context.registry, reference);
    this.methods({
      CreateDirectory: async (p, call) => {
        const store = context.registry.getAs(Datastore, p.datastore, "datastore");
        requireFilePrivilege(sessionOf(call).user, store, "Datastore.FileManagement");
        if (p.policy !== undefined) throw notSupported("storage policies; leave out the policy.");
        if (p.size !== undefined) throw notSupported("directories of a fixed size; leave out the size.");
        const name = (p.displayName as string | undefined) ?? crypto.randomUUID();
        if (!/^[^/\\[\]]+$/.test(name) || name.length > NAME_LIMIT || name.startsWith(".")) {
          throw invalidArgument("displayName", `'${name.slice(0, NAME_LIMIT)}' is no name of a directory.`);
        }
        const target = await fileOf(store, name);
        if (await store.folder.exists(name)) throw fileAlreadyExists(target.display);
        await mkdir(target.file);
        return `/vmfs/volumes/${store.folder.name}/${name}`;
      },
      DeleteDirectory: async (p, call) => {
        const path = String(p.datastorePath);
        const [, datastore, name = ""] = /^\/vmfs\/volumes\/([^/]+)\/([^/]+)\/?$/.exec(path) ?? [];
        const display = datastore === undefined ? path : `[${datastore}] ${name}`;
        const names = { path: "name", datacenter: "datacenter" };
        const target = await locate(context, call, { ...p, name: display }, names, "Datastore.FileManagement");
        if (target.path === "" || target.path.includes("/")) throw fileNotFound(path);
        const { directory } = await target.datastore.folder.resolveExisting(target.path);
        if (!directory) throw new LabFault("FileFault", `${display} is no directory.`, { file: display });
        await removeFile(context, target);
      },
      // Only the paths of vSAN directories have another spelling.
      ConvertNamespacePathToUuidPath: (p) => {
        const path = String(p.namespaceUrl);
        const [, name] = /(?:^|:\/\/)\/vmfs\/volumes\/([^/]+)\//.exec(path) ?? [];
        if (name === undefined || !context.folders.has(name)) throw invalidDatastorePath(path);
        return path;
      },
    });
  }
}
