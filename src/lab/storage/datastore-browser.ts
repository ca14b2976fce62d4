import { join } from "node:path";
import { invalidArgument, invalidDatastorePath, LabFault } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { type Call, ManagedObject, type Parameters, sessionOf } from "../model/managed-object.ts";
import { parseDatastorePath } from "./datastore-path.ts";
import { removeFile } from "./file-operations.ts";
import { checkQueries, describeFile, type ListedFile, QUERY_TYPES } from "./file-query.ts";
import { fileOf, requireFilePrivilege, type StorageContext, type StoredDatastore } from "./storage-context.ts";
import { isWorkPath } from "./work-area.ts";

/** Directories below the named one that a search visits at most, and how deep. */
const FOLDER_LIMIT = 10_000;
const DEPTH_LIMIT = 64;
const PATTERN_LIMIT = 256;

interface Search {
  queries: readonly DataObject[];
  details: DataObject | undefined;
  matches: (name: string) => boolean;
  foldersFirst: boolean;
}

/** Searches the datastores that it belongs to: one, or all of a host. */
export class DatastoreBrowser extends ManagedObject {
  constructor(
    private readonly context: StorageContext,
    reference: Reference,
    private readonly datastores: () => readonly StoredDatastore[],
  ) {
    super(context.registry, reference);
    this.properties({
      datastore: () => datastores().map((datastore) => datastore.reference),
      supportedType: () => QUERY_TYPES.map((type) => data(type)),
    });
    this.methods({
      SearchDatastore_Task: (p, call) => this.#run(p, call, search),
      SearchDatastoreSubFolders_Task: (p, call) => this.#run(p, call, searchBelow),
      DeleteFile: async (p) => {
        const { datastore, path } = this.#place(p);
        await removeFile(context, await fileOf(datastore, path));
      },
    });
  }

  #place(p: Parameters): Place {
    const given = p.datastorePath as string;
    const { datastore: name, path } = parseDatastorePath(given);
    const datastore = this.datastores().find(({ folder }) => folder.name === name);
    if (!datastore || isWorkPath(path)) throw invalidDatastorePath(given);
    return { datastore, path };
  }

  #run(p: Parameters, call: Call, operation: (place: Place, search: Search) => Promise<unknown>): Reference {
    const { user } = sessionOf(call);
    const place = this.#place(p);
    requireFilePrivilege(user, place.datastore, "Datastore.Browse");
    const search = readSearch(p.searchSpec as DataObject | undefined);
    return this.context.tasks.run(call.method, undefined, user.name, () => operation(place, search));
  }
}

interface Place {
  datastore: StoredDatastore;
  path: string;
}

async function search({ datastore, path }: Place, how: Search): Promise<DataObject> {
  return data("HostDatastoreBrowserSearchResults", {
    datastore: datastore.reference,
    folderPath: datastore.folder.format(path),
    file: await describeAll(await list(datastore, path), how),
  });
}

async function list({ folder }: StoredDatastore, path: string): Promise<ListedFile[]> {
  const directory = await folder.resolve(path);
  const entries = await folder.list(path);
  return entries
    .filter(({ name }) => path !== "" || !isWorkPath(name))
    .map((entry) => ({ ...entry, file: join(directory, entry.name) }));
}

/** One result per directory, the named one first. */
async function searchBelow({ datastore, path }: Place, how: Search): Promise<DataObject[]> {
  const results: DataObject[] = [];
  const display = datastore.folder.format(path);
  const visit = async (directory: string, depth: number): Promise<void> => {
    if (results.length >= FOLDER_LIMIT || depth > DEPTH_LIMIT) {
      throw new LabFault("FileFault", `There are too many directories below ${display}`, { file: display });
    }
    const entries = await list(datastore, directory);
    const folderPath = datastore.folder.format(directory);
    results.push(
      data("HostDatastoreBrowserSearchResults", {
        datastore: datastore.reference,
        folderPath: directory === "" ? folderPath : `${folderPath}/`,
        file: await describeAll(entries, how),
      }),
    );
    for (const entry of entries) {
      if (!entry.directory) continue;
      try {
        await visit(directory === "" ? entry.name : `${directory}/${entry.name}`, depth + 1);
      } catch (error) {
        // A directory that went away meanwhile is not part of the result.
        if (!(error instanceof LabFault) || error.fault !== "FileNotFound") throw error;
      }
    }
  };
  await visit(path, 0);
  return results;
}

async function describeAll(entries: readonly ListedFile[], search: Search): Promise<DataObject[]> {
  const files: DataObject[] = [];
  const ordered = search.foldersFirst
    ? [...entries.filter((entry) => entry.directory), ...entries.filter((entry) => !entry.directory)]
    : entries;
  for (const entry of ordered) {
    if (!search.matches(entry.name)) continue;
    const info = await describeUnlessGone(entry, search);
    if (info) files.push(info);
  }
  return files;
}

async function describeUnlessGone(entry: ListedFile, search: Search): Promise<DataObject | undefined> {
  try {
    return await describeFile(entry, search.queries, search.details);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

function readSearch(spec: DataObject | undefined): Search {
  const queries = (spec?.query as DataObject[] | undefined) ?? [];
  checkQueries(queries);
  const patterns = (spec?.matchPattern as string[] | undefined) ?? [];
  if (patterns.length > PATTERN_LIMIT) throw invalidArgument("searchSpec.matchPattern", `${PATTERN_LIMIT} at most.`);
  const fold = spec?.searchCaseInsensitive === true;
  const globs = patterns.map((pattern) => new Bun.Glob(literalGlob(fold ? pattern.toLowerCase() : pattern)));
  return {
    queries,
    details: spec?.details as DataObject | undefined,
    matches: (name) => {
      const text = fold ? name.toLowerCase() : name;
      return globs.length === 0 || globs.some((glob) => glob.match(text));
    },
    foldersFirst: spec?.sortFoldersFirst === true,
  };
}

/** vSphere's patterns know `*` and `?`; everything else that a glob would interpret stands for itself. */
const literalGlob = (pattern: string): string => pattern.replace(/[\\[\]{}!]/g, "\\$&");
