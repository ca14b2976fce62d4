/**
 * The bootstrap ISOs of a VCH, side by side on its datastore: their files and records, and which one is the default.
 * Nothing is cached: another process may change it at any time, and the next container has to know.
 */
import { type DatastoreFiles, type DatastorePath, VSphereFault } from "../../vsphere/contract.ts";
import { conflict, EngineError, invalid, notFound } from "../errors.ts";
import { METADATA_LIMIT } from "../limits.ts";
import { formatTime, nowNanoseconds } from "../time.ts";
import {
  type BootMedium,
  BUILT_IN_ISO,
  checkIsoName,
  type IsoFacts,
  type IsoRecord,
  IsoRecordError,
  isoFileName,
  parseIsoRecord,
  parseJson,
} from "./record.ts";
import type { IsoUse } from "./usage.ts";

const RECORD_FILE = /^(.+)\.json$/;
/** Files without a record may belong to an upload under way; after this time they belong to one that was cut off. */
export const UPLOAD_TIME_LIMIT_MILLISECONDS = 24 * 60 * 60_000;

export class IsoCatalog {
  readonly #files: DatastoreFiles;
  readonly #folder: DatastorePath;
  readonly #log: (message: string) => void;
  readonly #builtIn: BootMedium | undefined;

  /**
   * @param folder where everything about ISOs lies
   * @param builtIn what the ISO of the endpoint itself is, where that is known already
   */
  constructor(files: DatastoreFiles, folder: DatastorePath, log: (message: string) => void, builtIn?: BootMedium) {
    this.#files = files;
    this.#folder = folder;
    this.#log = log;
    this.#builtIn = builtIn;
  }

  /** All ISOs by name. A damaged record is told and left alone. */
  async list(): Promise<IsoRecord[]> {
    return (await this.#load()).records;
  }

  async #load(): Promise<{ records: IsoRecord[]; damaged: number }> {
    const records: IsoRecord[] = [];
    let damaged = 0;
    for (const name of await this.#names()) {
      try {
        const record = await this.find(name);
        if (record !== undefined) records.push(record);
      } catch (error) {
        damaged++;
        this.#log(error instanceof Error ? error.message : String(error));
      }
    }
    return { records: records.sort((a, b) => (a.name < b.name ? -1 : 1)), damaged };
  }

  async find(name: string): Promise<IsoRecord | undefined> {
    const text = await this.#readIfThere(this.#recordPath(checkIsoName(name)));
    return text === undefined ? undefined : parseIsoRecord(text, name);
  }

  /** Name of the ISO that containers get which name none. */
  async defaultName(): Promise<string> {
    const text = await this.#readIfThere(`${this.#folder}/default.json`);
    if (text === undefined) return BUILT_IN_ISO;
    const name = (parseJson(text) as { name?: unknown } | null | undefined)?.name;
    if (typeof name !== "string")
      throw new EngineError(
        "unavailable",
        "it is not known which bootstrap ISO is the default: choose one with vch iso use",
      );
    return checkIsoName(name);
  }

  /** What a VM is to start from. @throws EngineError when there is no such ISO */
  async medium(wanted?: string): Promise<BootMedium> {
    const name = wanted ?? (await this.defaultName());
    if (name === BUILT_IN_ISO && this.#builtIn !== undefined) return this.#builtIn;
    const record = await this.find(name);
    if (record === undefined)
      throw wanted === undefined
        ? new EngineError(
            "unavailable",
            `the default bootstrap ISO ${name} is not on the datastore: choose another one with vch iso use`,
          )
        : invalid(`unknown or invalid runtime name: ${name}`);
    return this.mediumOf(record);
  }

  mediumOf(record: IsoRecord): BootMedium {
    return {
      name: record.name,
      path: this.path(record),
      // What every ESXi gives a VM without a further controller, and what starts fastest.
      cdromBus: record.cdromBuses.includes("ide") ? "ide" : "sata",
      firmware: record.firmware.includes("bios") ? "bios" : "efi",
    };
  }

  path(record: Pick<IsoRecord, "file">): DatastorePath {
    return `${this.#folder}/${record.file}`;
  }

  /**
   * Uploads an ISO. An upload that was cut off is never taken for a whole one: the file gets its name when it is
   * complete, and after that its record. What is there already is not uploaded again.
   * @param replace whether a name may get another content; VMs that use the earlier content keep it
   * @throws EngineError when the name is taken
   */
  async add(
    name: string,
    facts: IsoFacts,
    open: () => ReadableStream<Uint8Array>,
    { replace = false }: { replace?: boolean } = {},
  ): Promise<IsoRecord> {
    const known = await this.#findToReplace(name, replace);
    if (known !== undefined && known.sha256 !== facts.sha256 && !replace)
      throw conflict(`there is another bootstrap ISO ${name}: choose another name, or replace it with --replace`);
    const record: IsoRecord = {
      version: 1,
      name,
      file: isoFileName(name, facts.sha256),
      ...facts,
      uploaded: formatTime(nowNanoseconds()),
    };
    const path = this.path(record);
    await this.#files.makeDirectory(`${this.#folder}/records`);
    if (!(await this.#files.exists(path))) {
      // Two uploads of one content at a time write two files; the second move replaces equal bytes.
      const partial = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
      try {
        await this.#files.write(partial, { stream: open(), length: facts.sizeBytes });
        await this.#files.move(partial, path);
      } catch (error) {
        await this.#files.remove(partial).catch((problem: unknown) => {
          this.#log(`${partial}: ${problem instanceof Error ? problem.message : problem}`);
        });
        throw error;
      }
    }
    if (
      known?.file === record.file &&
      JSON.stringify({ ...known, uploaded: "" }) === JSON.stringify({ ...record, uploaded: "" })
    )
      return known;
    await this.#write(this.#recordPath(name), record);
    return record;
  }

  /** A damaged record is as good as none for whoever replaces it: the endpoint must be able to start. */
  async #findToReplace(name: string, replace: boolean): Promise<IsoRecord | undefined> {
    try {
      return await this.find(name);
    } catch (error) {
      if (!replace || !(error instanceof IsoRecordError)) throw error;
      this.#log(`${error.message}: it is written anew`);
      return undefined;
    }
  }

  /** Makes an ISO the default of containers from now on. @throws EngineError when there is no such ISO */
  async use(name: string): Promise<void> {
    if ((await this.find(name)) === undefined) throw notFound(`there is no bootstrap ISO ${name}`);
    await this.#write(`${this.#folder}/default.json`, { version: 1, name });
  }

  /**
   * Deletes an ISO.
   * @param usage tells what VMs use; asked again after the record is gone, because a container may come meanwhile
   * @throws EngineError when a VM uses it, or when it is the default
   */
  async remove(name: string, usage: () => IsoUse): Promise<void> {
    const record = await this.find(name);
    if (record === undefined) throw notFound(`there is no bootstrap ISO ${name}`);
    if (name === BUILT_IN_ISO) throw invalid(`${name} belongs to the endpoint, which would upload it again`);
    if ((await this.defaultName()) === name)
      throw conflict(`bootstrap ISO ${name} is the default: choose another one first with vch iso use`);
    this.#refuseUsed(record, usage());
    await this.#files.remove(this.#recordPath(name));
    try {
      this.#refuseUsed(record, usage());
    } catch (error) {
      await this.#write(this.#recordPath(name), record);
      throw error;
    }
    const others = await this.list();
    if (!others.some(({ file }) => file === record.file)) await this.#files.remove(this.path(record));
  }

  /** Deletes files that no record names and no VM uses: of uploads that were cut off, and of contents that were replaced. */
  async prune(usage: IsoUse, now = Date.now()): Promise<string[]> {
    const { records, damaged } = await this.#load();
    // The file of a record that cannot be read, or of a VM that does not tell, may be any.
    if (damaged > 0 || !usage.isComplete || !(await this.#files.exists(this.#folder))) return [];
    const named = new Set(records.map(({ file }) => file));
    const removed: string[] = [];
    for (const { name, directory, modified } of await this.#files.list(this.#folder)) {
      if (directory || !/\.(iso|new)$/.test(name) || named.has(name) || usage.files.has(name)) continue;
      if (now - modified.getTime() < UPLOAD_TIME_LIMIT_MILLISECONDS) continue;
      await this.#files.remove(`${this.#folder}/${name}`);
      removed.push(name);
    }
    return removed;
  }

  #refuseUsed({ name, file }: IsoRecord, usage: IsoUse): void {
    const users = usage.files.get(file);
    if (users === undefined) return;
    const shown = users.slice(0, 5).join(", ") + (users.length > 5 ? ` and ${users.length - 5} more` : "");
    throw conflict(
      `bootstrap ISO ${name} is used by ${shown}: remove these containers first (a loader VM goes by itself when it is idle)`,
    );
  }

  async #names(): Promise<string[]> {
    const folder = `${this.#folder}/records`;
    if (!(await this.#files.exists(folder))) return [];
    return (await this.#files.list(folder)).flatMap(({ name }) => RECORD_FILE.exec(name)?.[1] ?? []);
  }

  #recordPath(name: string): DatastorePath {
    return `${this.#folder}/records/${name}.json`;
  }

  async #write(path: DatastorePath, content: object): Promise<void> {
    await this.#files.write(`${path}.new`, `${JSON.stringify(content)}\n`);
    await this.#files.move(`${path}.new`, path);
  }

  async #readIfThere(path: DatastorePath): Promise<string | undefined> {
    try {
      return await this.#files.readText(path, METADATA_LIMIT);
    } catch (error) {
      if (error instanceof VSphereFault && error.fault === "FileNotFound") return undefined;
      throw error;
    }
  }
}
