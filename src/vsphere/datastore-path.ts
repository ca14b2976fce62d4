/** `[datastore] directory/file`: taking it apart and putting it together. */
import { type DatastorePath, VSphereFault } from "./contract.ts";

const PATH = /^\[([^\]]+)\] ?(.*)$/s;

export interface SplitPath {
  datastore: string;
  /** Without leading and trailing slashes; the empty string for the datastore itself. */
  path: string;
}

export function splitDatastorePath(text: DatastorePath): SplitPath {
  const [, datastore, path] = PATH.exec(text) ?? [];
  if (datastore === undefined || path === undefined) {
    throw new VSphereFault(
      "InvalidDatastorePath",
      `"${text}" is no datastore path: it must look like "[datastore] directory/file"`,
    );
  }
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.some((part) => part === ".." || part === "." || part.includes("\0"))) {
    throw new VSphereFault("InvalidDatastorePath", `"${text}" must not leave its directory`);
  }
  return { datastore, path: parts.join("/") };
}

export function joinDatastorePath({ datastore, path }: SplitPath): DatastorePath {
  return `[${datastore}] ${path}`;
}

export function parentDirectory(text: DatastorePath): { directory: DatastorePath; name: string } {
  const { datastore, path } = splitDatastorePath(text);
  const slash = path.lastIndexOf("/");
  return {
    directory: joinDatastorePath({ datastore, path: path.slice(0, Math.max(slash, 0)) }),
    name: path.slice(slash + 1),
  };
}

/** Is the file somewhere below the directory? */
export function isBelow(file: DatastorePath, directory: DatastorePath): boolean {
  const inner = splitDatastorePath(file);
  const outer = splitDatastorePath(directory);
  return inner.datastore === outer.datastore && inner.path.startsWith(`${outer.path}/`);
}
