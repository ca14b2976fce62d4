import { closeSync, fstatSync, readSync } from "node:fs";
import { ERRNO, OPEN, openInRoot, RESOLVE, SystemError } from "../system/libc.ts";
import { ProcessStartError } from "./start-error.ts";

/** Who a process runs as. */
export interface ProcessUser {
  uid: number;
  gid: number;
  groups: number[];
  home: string;
}

/** Longest passwd or group file that is read. */
const FILE_LIMIT = 4 * 1024 * 1024;
const LARGEST_ID = 0x7fff_ffff;
const DIGITS = /^[0-9]{1,10}$/;

const RESOLVE_FLAGS = RESOLVE.inRoot | RESOLVE.noMagicLinks | RESOLVE.noCrossing;

/**
 * Content of a file of the container; empty when it is missing or no regular file. One on another mount is read by a process
 * of its own: that mount may be a share, which this program serves.
 */
const readFile = async (root: number, path: string): Promise<Buffer> => {
  let fd: number;
  try {
    fd = openInRoot(root, path, OPEN.readOnly | OPEN.nonBlocking, 0, RESOLVE_FLAGS);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error.errno !== ERRNO.EXDEV) return Buffer.alloc(0);
    const { runLauncher } = await import("../share/launcher.ts");
    return await runLauncher(["read", path, String(FILE_LIMIT)], root).catch(() => Buffer.alloc(0));
  }
  try {
    const stat = fstatSync(fd);
    const bytes = Buffer.alloc(stat.isFile() ? Math.min(stat.size, FILE_LIMIT) : 0);
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(fd);
  }
};

/** Its lines, split at colons. */
const readTable = async (root: number, path: string): Promise<string[][]> => {
  const lines = (await readFile(root, path)).toString("utf8").split("\n");
  return lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => line.split(":"));
};

const numeric = (text: string): number | undefined => {
  const value = Number(text);
  return DIGITS.test(text) && value <= LARGEST_ID ? value : undefined;
};

/**
 * Resolves a Docker user (`user`, `user:group`, numbers or names) with the container's own files, as Docker does:
 * names win over numbers, a number need not be listed, groups that list the user are added unless a group was given.
 */
export const resolveUser = async (root: number, user: string, additionalGroups: string[]): Promise<ProcessUser> => {
  const [userPart = "", groupPart = ""] = user.split(":", 2);
  const wanted = userPart === "" ? "0" : userPart;
  const passwd = await readTable(root, "/etc/passwd");
  const entry = passwd.find(([name]) => name === wanted) ?? passwd.find(([, , uid]) => uid === wanted);
  const uid = numeric(entry?.[2] ?? wanted);
  if (uid === undefined) {
    throw new ProcessStartError("no-such-user", `unable to find user ${userPart}: no matching entries in passwd file`);
  }
  const result: ProcessUser = { uid, gid: numeric(entry?.[3] ?? "0") ?? 0, groups: [], home: entry?.[5] || "/" };
  if (groupPart === "" && additionalGroups.length === 0 && entry === undefined) return result;

  const groups = await readTable(root, "/etc/group");
  const find = (name: string): number | undefined =>
    numeric((groups.find(([group]) => group === name) ?? groups.find(([, , gid]) => gid === name))?.[2] ?? name);
  if (groupPart !== "") {
    const gid = find(groupPart);
    if (gid === undefined) {
      const message = `unable to find group ${groupPart}: no matching entries in group file`;
      throw new ProcessStartError("no-such-group", message);
    }
    result.gid = gid;
  } else if (entry !== undefined) {
    for (const [, , gid = "", members = ""] of groups) {
      const number = numeric(gid);
      if (number !== undefined && members.split(",").includes(entry[0] ?? "")) result.groups.push(number);
    }
  }
  for (const name of additionalGroups) {
    const gid = find(name);
    if (gid === undefined) {
      const message = `unable to find group ${name}: no matching entries in group file`;
      throw new ProcessStartError("no-such-group", message);
    }
    result.groups.push(gid);
  }
  return { ...result, groups: [...new Set(result.groups)].slice(0, 1024) };
};

/** User names by uid, from the container's passwd. */
export const passwdNames = async (root: number): Promise<Map<number, string>> => {
  const names = new Map<number, string>();
  for (const [name = "", , uid = ""] of await readTable(root, "/etc/passwd")) {
    const number = numeric(uid);
    if (number !== undefined && !names.has(number)) names.set(number, name);
  }
  return names;
};
