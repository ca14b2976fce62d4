/** What a container has changed against its image (docker diff): two walks of the two disks, merged as they come. */
import { compareTreePaths, type TreeRecord } from "../../link/tree-record.ts";

/** Docker's numbers. */
export const CHANGE = { modified: 0, added: 1, deleted: 2 } as const;
export type ChangeKind = (typeof CHANGE)[keyof typeof CHANGE];

export interface TreeChange {
  /** A byte string without a slash in front. */
  path: string;
  kind: ChangeKind;
}

const KIND = 0xf000;
const DIRECTORY = 0x4000;

/**
 * What the tether makes in a root so that the container's mounts have a place, as dockerd does; it is no change of the
 * container's. Paths, with all that is below the directories among them.
 */
const OURS = new Set(["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"]);

const isOurs = (path: string): boolean => {
  if (OURS.has(path)) return true;
  const slash = path.indexOf("/");
  return slash !== -1 && path.slice(0, slash) !== "etc" && OURS.has(path.slice(0, slash));
};

const isDirectory = ({ mode }: TreeRecord): boolean => (mode & KIND) === DIRECTORY;

/**
 * The RW disk begins as a copy of the image's disk, block by block: a file that nobody touched has the same inode number
 * and change time on both. A directory counts as modified when its mode or owner is, or when something in it is.
 */
export async function* treeChanges(
  before: AsyncIterable<TreeRecord>,
  after: AsyncIterable<TreeRecord>,
): AsyncGenerator<TreeChange, void, undefined> {
  const old = before[Symbol.asyncIterator]();
  const now = after[Symbol.asyncIterator]();
  const parents = new ParentDirectories();
  try {
    let [was, is] = await Promise.all([old.next(), now.next()]);
    let removed: string | undefined;
    while (!was.done || !is.done) {
      const order = was.done ? 1 : is.done ? -1 : compareTreePaths(was.value.path, is.value.path);
      if (order < 0 && !was.done) {
        const { path } = was.value;
        // One whiteout hides a directory with all that was in it.
        if (!isOurs(path) && !(removed !== undefined && path.startsWith(`${removed}/`))) {
          yield* parents.touch(path);
          yield { path, kind: CHANGE.deleted };
          removed = path;
        }
        was = await old.next();
      } else if (order > 0 && !is.done) {
        if (!isOurs(is.value.path)) yield* added(is.value, parents);
        is = await now.next();
      } else if (!was.done && !is.done) {
        if (!isOurs(is.value.path)) yield* compared(was.value, is.value, parents);
        // What was below a directory that is none any more went with it.
        if (isDirectory(was.value) && !isDirectory(is.value)) removed = is.value.path;
        [was, is] = await Promise.all([old.next(), now.next()]);
      }
    }
  } finally {
    await Promise.all([old.return?.(), now.return?.()]);
  }
}

function* added(record: TreeRecord, parents: ParentDirectories): Generator<TreeChange> {
  // Made for our files in it, when the image has none: told only when there is something else.
  if (record.path === "etc" && isDirectory(record)) {
    parents.enter(record.path, CHANGE.added);
    return;
  }
  yield* parents.touch(record.path);
  yield { path: record.path, kind: CHANGE.added };
}

function* compared(was: TreeRecord, is: TreeRecord, parents: ParentDirectories): Generator<TreeChange> {
  const attributes = was.mode !== is.mode || was.uid !== is.uid || was.gid !== is.gid;
  const modified =
    isDirectory(is) && isDirectory(was) ? attributes : was.inode !== is.inode || was.changed !== is.changed;
  if (modified) {
    yield* parents.touch(is.path);
    yield { path: is.path, kind: CHANGE.modified };
  } else if (isDirectory(is)) parents.enter(is.path, CHANGE.modified);
}

/** Directories on the way to where the walk is that have not been told: they are as soon as something below them is. */
class ParentDirectories {
  #silent: { path: string; kind: ChangeKind }[] = [];

  enter(path: string, kind: ChangeKind): void {
    this.#leave(path);
    this.#silent.push({ path, kind });
  }

  *touch(path: string): Generator<TreeChange> {
    this.#leave(path);
    const told = this.#silent;
    this.#silent = [];
    yield* told;
  }

  /** Forget what is not above `path`. */
  #leave(path: string): void {
    this.#silent = this.#silent.filter((directory) => path.startsWith(`${directory.path}/`));
  }
}
