/**
 * A hidden directory at the top of a datastore for files that are not complete yet and for files on their way out. What has its
 * final name is therefore always whole, and a removal is one rename. Emptied at start: nothing in it was promised to anybody.
 */
import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { DatastoreFolder } from "./datastore-folder.ts";

const WORK_DIRECTORY = ".lab-work";

/** Does the relative path lead to the work area? */
export const isWorkPath = (path: string): boolean => path === WORK_DIRECTORY || path.startsWith(`${WORK_DIRECTORY}/`);

/** A new directory in the work area and the function that removes it with its content. */
export async function openWorkDirectory(
  folder: DatastoreFolder,
): Promise<{ directory: string; dispose: () => Promise<void> }> {
  const directory = join(folder.directory, WORK_DIRECTORY, randomUUID());
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return { directory, dispose: () => rm(directory, { recursive: true, force: true }) };
}

/** Finishes removals and throws incomplete files away. To be called at start, before anybody uses the datastore. */
export async function clearWorkArea(folder: DatastoreFolder): Promise<void> {
  await rm(join(folder.directory, WORK_DIRECTORY), { recursive: true, force: true });
}
