/** vch.json: what the VCH's directory on the datastore says of itself. */
import type { DatastoreFiles } from "../vsphere/contract.ts";
import { METADATA_LIMIT } from "./limits.ts";
import type { EnginePaths } from "./paths.ts";
import { formatTime, nowNanoseconds } from "./time.ts";

export interface HostRecord {
  version: 1;
  name: string;
  /** RFC 3339; also the age of the default networks. */
  created: string;
}

/** Reads the record, or writes it at the first start. */
export async function hostRecord(files: DatastoreFiles, paths: EnginePaths, name: string): Promise<HostRecord> {
  const path = `${paths.root}/vch.json`;
  if (await files.exists(path)) {
    const record = JSON.parse(await files.readText(path, METADATA_LIMIT)) as HostRecord;
    if (record.version !== 1)
      throw new Error(`${path} was written by another version (${record.version}): use that version of vch`);
    return record;
  }
  const record: HostRecord = { version: 1, name, created: formatTime(nowNanoseconds()) };
  for (const directory of [paths.root, paths.containers, paths.volumes, paths.loaders])
    await files.makeDirectory(directory);
  await files.write(`${path}.new`, `${JSON.stringify(record)}\n`);
  await files.move(`${path}.new`, path);
  return record;
}
