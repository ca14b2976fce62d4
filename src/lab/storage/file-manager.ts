import { mkdir } from "node:fs/promises";
import { fileAlreadyExists } from "../fault.ts";
import type { Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters, sessionOf } from "../model/managed-object.ts";
import { copyFileOrDirectory, moveFile, removeFile, requireParentDirectory } from "./file-operations.ts";
import { asFileFault, type DatastoreFile, locate, type StorageContext } from "./storage-context.ts";

const SINGLE = { path: "name", datacenter: "datacenter" };
const SOURCE = { path: "sourceName", datacenter: "sourceDatacenter" };
const DESTINATION = { path: "destinationName", datacenter: "destinationDatacenter" };

type Transfer = (context: StorageContext, from: DatastoreFile, to: DatastoreFile, force: boolean) => Promise<void>;

/** Files and directories of the datastores. */
export class FileManager extends ManagedObject {
  constructor(
    private readonly context: StorageContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    this.methods({
      MakeDirectory: async (p, call) => {
        const target = await locate(context, call, p, SINGLE, "Datastore.FileManagement");
        await makeDirectory(target, p.createParentDirectories === true);
      },
      DeleteDatastoreFile_Task: async (p, call) => {
        const target = await locate(context, call, p, SINGLE, "Datastore.FileManagement");
        return this.#run(call, () => removeFile(context, target));
      },
      MoveDatastoreFile_Task: (p, call) => this.#transfer(p, call, moveFile),
      CopyDatastoreFile_Task: (p, call) => this.#transfer(p, call, copyFileOrDirectory),
    });
  }

  async #transfer(p: Parameters, call: Call, transfer: Transfer): Promise<Reference> {
    const from = await locate(this.context, call, p, SOURCE, "Datastore.FileManagement");
    // Without a datacenter of its own the destination is in the source's.
    const destinationDatacenter = p.destinationDatacenter ?? p.sourceDatacenter;
    const to = await locate(
      this.context,
      call,
      { ...p, destinationDatacenter },
      DESTINATION,
      "Datastore.FileManagement",
    );
    return this.#run(call, () => transfer(this.context, from, to, p.force === true));
  }

  #run(call: Call, operation: () => Promise<void>): Reference {
    return this.context.tasks.run(call.method, undefined, sessionOf(call).user.name, operation);
  }
}

async function makeDirectory(target: DatastoreFile, recursive: boolean): Promise<void> {
  const { folder } = target.datastore;
  if (target.path === "" || (await folder.exists(target.path))) throw fileAlreadyExists(target.display);
  if (!recursive) await requireParentDirectory(target);
  try {
    await mkdir(target.file, { recursive, mode: 0o755 });
  } catch (error) {
    throw asFileFault(error, target);
  }
}
