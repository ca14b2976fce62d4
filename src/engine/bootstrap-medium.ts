/** The bootstrap ISO that the endpoint brings along, on the datastore beside those that administrators uploaded. */
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import type { DatastoreFiles } from "../vsphere/contract.ts";
import { IsoCatalog } from "./isos/catalog.ts";
import { BUILT_IN_ISO } from "./isos/record.ts";
import type { EngineOptions } from "./options.ts";
import type { EnginePaths } from "./paths.ts";

/** The catalog of ISOs, with the endpoint's own uploaded. A new one gets a file of its own: VMs keep what they booted. */
export async function bootstrapMedia(
  files: DatastoreFiles,
  paths: EnginePaths,
  iso: EngineOptions["iso"],
  log: (message: string) => void,
): Promise<IsoCatalog> {
  if ("datastorePath" in iso) {
    const path = iso.datastorePath;
    return new IsoCatalog(files, paths.isos, log, { name: BUILT_IN_ISO, path, cdromBus: "ide", firmware: "bios" });
  }
  const catalog = new IsoCatalog(files, paths.isos, log);
  const open = () => Readable.toWeb(createReadStream(iso.file)) as unknown as ReadableStream<Uint8Array>;
  const record = await catalog.add(BUILT_IN_ISO, iso.facts, open, { replace: true });
  return new IsoCatalog(files, paths.isos, log, catalog.mediumOf(record));
}
