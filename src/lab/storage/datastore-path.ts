import { invalidDatastorePath } from "../fault.ts";

/** `[datastore] directory/file`: vSphere's notation for a file of a datastore. `path` has no leading or trailing slash. */
export interface ParsedDatastorePath {
  datastore: string;
  path: string;
}

/** Longest path in characters; VMFS refuses longer ones too. */
const PATH_LIMIT = 2048;
/** Longest file or directory name in bytes, the limit of VMFS and of Linux file systems. */
const NAME_LIMIT = 255;

/** Takes `[datastore] path` apart; refuses everything that could leave the datastore. Throws InvalidDatastorePath. */
export function parseDatastorePath(text: string): ParsedDatastorePath {
  const match = /^\s*\[([^[\]/]+)\]\s*(.*)$/s.exec(text);
  const datastore = match?.[1]?.trim();
  if (!datastore) throw invalidDatastorePath(text);
  return { datastore, path: normalizeRelativePath(match?.[2] ?? "", text) };
}

/** The relative path without empty and `.` segments. `..`, NUL and control characters are refused. */
export function normalizeRelativePath(path: string, whole: string): string {
  if (path.length > PATH_LIMIT) throw invalidDatastorePath(`${whole.slice(0, 64)}…`);
  const segments = path.split("/").filter((segment) => segment !== "" && segment !== ".");
  for (const segment of segments) {
    const tooLong = Buffer.byteLength(segment) > NAME_LIMIT;
    if (segment === ".." || tooLong || /[\x00-\x1f\x7f]/.test(segment)) throw invalidDatastorePath(whole);
  }
  return segments.join("/");
}

export const formatDatastorePath = ({ datastore, path }: ParsedDatastorePath): string =>
  path === "" ? `[${datastore}]` : `[${datastore}] ${path}`;

/** Directory part of a relative path; "" at the top. */
export const parentDirectory = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** Last segment of a relative path. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
