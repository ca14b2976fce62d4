import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Datastore } from "../inventory/datastore.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters, sessionOf } from "../model/managed-object.ts";
import { datastoreOf } from "../storage/datastore-folder.ts";
import { parseDatastorePath } from "../storage/datastore-path.ts";

/** Files of one search; more are cut off by an error instead of filling memory. */
const RESULT_LIMIT = 100_000;

type Entry = { name: string; directory: boolean; size: number; modified: Date };

/** Which FileInfo a file is shown as, by its name. */
const TYPES: readonly { pattern: RegExp; info: string; query: string }[] = [
  { pattern: /-flat\.vmdk$/i, info: "FileInfo", query: "" },
  { pattern: /\.vmdk$/i, info: "VmDiskFileInfo", query: "VmDiskFileQuery" },
  { pattern: /\.vmx$/i, info: "VmConfigFileInfo", query: "VmConfigFileQuery" },
  { pattern: /\.log$/i, info: "VmLogFileInfo", query: "VmLogFileQuery" },
  { pattern: /\.nvram$/i, info: "VmNvramFileInfo", query: "VmNvramFileQuery" },
  { pattern: /\.iso$/i, info: "IsoImageFileInfo", query: "IsoImageFileQuery" },
];

/** Searches the datastores that it belongs to. */
export class DatastoreBrowser extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
    private readonly stores: () => Datastore[],
  ) {
    super(context.registry, reference);
    this.properties({
      datastore: () => stores().map((store) => store.reference),
      supportedType: () => TYPES.filter(({ query }) => query !== "").map(({ query }) => data(query)),
    });
    const search = (deep: boolean) => (p: Parameters, call: Call) => {
      const path = p.datastorePath as string;
      this.#storeOf(path);
      const spec = p.searchSpec as DataObject | undefined;
      return context.tasks.run(call.method, undefined, sessionOf(call).user.name, async () => {
        const results = await this.#search(path, spec, deep);
        return deep ? results : results[0];
      });
    };
    this.methods({ SearchDatastore_Task: search(false), SearchDatastoreSubFolders_Task: search(true) });
  }

  #storeOf(path: string): Datastore {
    const { datastore } = parseDatastorePath(path);
    const store = this.stores().find(({ folder }) => folder.name === datastore);
    if (store) return store;
    throw new LabFault("InvalidDatastore", `Invalid datastore '${datastore}'.`, { name: datastore });
  }

  async #search(path: string, spec: DataObject | undefined, deep: boolean): Promise<DataObject[]> {
    const parsed = parseDatastorePath(path);
    const folder = datastoreOf(this.context.folders, parsed);
    const store = this.#storeOf(path);
    const patterns = matchers(spec);
    const details = spec?.details as DataObject | undefined;
    const queries = (spec?.query as DataObject[] | undefined) ?? [];
    const results: DataObject[] = [];
    let count = 0;
    const visit = async (directory: string): Promise<void> => {
      const entries = await folder.list(directory);
      const matching = entries.filter((entry) => patterns.some((pattern) => pattern.test(entry.name)));
      const file: DataObject[] = [];
      for (const entry of order(matching, spec?.sortFoldersFirst === true)) {
        if (++count > RESULT_LIMIT)
          throw new LabFault("LimitExceeded", `The search finds more than ${RESULT_LIMIT} files.`);
        const relative = directory === "" ? entry.name : `${directory}/${entry.name}`;
        const info = await this.#fileInfo(folder.format(relative), entry, details, queries);
        if (info) file.push(info);
      }
      const place = folder.format(directory);
      const folderPath = directory === "" ? `${place} ` : `${place}/`;
      results.push(data("HostDatastoreBrowserSearchResults", { datastore: store.reference, folderPath, file }));
      if (!deep) return;
      for (const entry of entries) {
        if (entry.directory) await visit(directory === "" ? entry.name : `${directory}/${entry.name}`);
      }
    };
    await visit(parsed.path);
    return results;
  }

  async #fileInfo(
    path: string,
    entry: Entry,
    details: DataObject | undefined,
    queries: DataObject[],
  ): Promise<DataObject | undefined> {
    const known = TYPES.find(({ pattern }) => pattern.test(entry.name));
    const type = entry.directory ? { info: "FolderFileInfo", query: "FolderFileQuery" } : known;
    const asked = queries.some(({ _type }) => _type === "FileQuery" || _type === type?.query);
    if (queries.length > 0 && !asked) return undefined;
    const typed = details === undefined || details.fileType === true || queries.length > 0;
    const name = typed ? (type?.info ?? "FileInfo") : "FileInfo";
    return data(name, {
      path: entry.name,
      fileSize: details?.fileSize === true ? entry.size : undefined,
      modification: details?.modification === true ? entry.modified : undefined,
      owner: details?.fileOwner === true ? "root" : undefined,
      ...(name === "VmDiskFileInfo" ? await this.#diskDetails(path, queries) : {}),
    });
  }

  async #diskDetails(path: string, queries: DataObject[]): Promise<Record<string, unknown>> {
    const query = queries.find(({ _type }) => _type === "VmDiskFileQuery");
    const wanted = query?.details as DataObject | undefined;
    if (!wanted) return {};
    const { capacityBytes } = await this.context.disks.inspect(await this.context.host.resolve(path));
    return {
      diskType: wanted.diskType === true ? "VirtualDiskFlatVer2BackingInfo" : undefined,
      capacityKb: wanted.capacityKb === true ? Math.floor(capacityBytes / 1024) : undefined,
      thin: wanted.thin === true ? true : undefined,
      controllerType: wanted.controllerType === true ? "VirtualLsiLogicController" : undefined,
    };
  }
}

/** Shell patterns (`*`, `?`) as regular expressions; without any, everything. */
function matchers(spec: DataObject | undefined): RegExp[] {
  const patterns = (spec?.matchPattern as string[] | undefined) ?? [];
  const flags = spec?.searchCaseInsensitive === false ? "" : "i";
  if (patterns.length === 0) return [/^/];
  return patterns.map((pattern) => {
    const source = pattern
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*+/g, ".*")
      .replace(/\?/g, ".");
    return new RegExp(`^${source}$`, flags);
  });
}

const order = (entries: Entry[], foldersFirst: boolean): Entry[] =>
  foldersFirst
    ? [...entries.filter((entry) => entry.directory), ...entries.filter((entry) => !entry.directory)]
    : entries;
