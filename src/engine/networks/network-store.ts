/** Records of networks on the datastore: `networks/<id>.json`, replaced in one step. */
import type { DatastoreFiles } from "../../vsphere/contract.ts";
import { METADATA_LIMIT } from "../limits.ts";
import type { EnginePaths } from "../paths.ts";
import type { NetworkRecord } from "./network-record.ts";

const FILE_NAME = /^[0-9a-f]{64}\.json$/;

export class NetworkStore {
  constructor(
    private readonly files: DatastoreFiles,
    private readonly paths: EnginePaths,
    private readonly log: (message: string) => void,
  ) {}

  /** Every network that was ever begun and is not gone. A damaged record is told and left alone. */
  async load(): Promise<NetworkRecord[]> {
    const { networks } = this.paths;
    if (!(await this.files.exists(networks))) return [];
    const records: NetworkRecord[] = [];
    for (const { name } of await this.files.list(networks)) {
      if (!FILE_NAME.test(name)) continue;
      const path = `${networks}/${name}`;
      try {
        const record = JSON.parse(await this.files.readText(path, METADATA_LIMIT)) as NetworkRecord;
        if (record.version !== 1 || `${record.id}.json` !== name)
          throw new Error("it is not a network of this version");
        records.push(record);
      } catch (error) {
        this.log(`${path}: ${error instanceof Error ? error.message : error}`);
      }
    }
    return records;
  }

  async write(record: NetworkRecord): Promise<void> {
    const path = this.paths.network(record.id);
    await this.files.makeDirectory(this.paths.networks);
    await this.files.write(`${path}.new`, `${JSON.stringify(record)}\n`);
    await this.files.move(`${path}.new`, path);
  }

  async remove(id: string): Promise<void> {
    await this.files.remove(this.paths.network(id));
  }
}
