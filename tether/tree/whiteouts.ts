import { LinkError } from "../../src/link/link-error.ts";
import { closeFd, cName, openAt } from "../system/file-calls.ts";
import { OPEN } from "../system/libc.ts";
import type { Directories } from "./directories.ts";
import { baseOf, parentOf, toText } from "./names.ts";
import { namesIn, removeAt } from "./remove.ts";

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** Names that aufs, where whiteouts come from, kept for itself. */
const META = ".wh..wh.";

/** The whiteouts of an image layer (OCI image specification, "Layer Filesystem Changeset"). */
export class Whiteouts {
  readonly #directories: Directories;
  /** What this layer has made, with its parents: an opaque whiteout spares it, wherever in the layer it comes. */
  readonly #made = new Set<string>();
  readonly #hasLower: boolean;

  /** `hasLower`: whether there is anything of lower layers that could be hidden. */
  constructor(directories: Directories, hasLower: boolean) {
    this.#directories = directories;
    this.#hasLower = hasLower;
  }

  made(path: string): void {
    if (!this.#hasLower) return;
    for (let at = path; at !== "" && !this.#made.has(at); at = parentOf(at)) this.#made.add(at);
  }

  /** Applies the whiteout that `path` is; false when it is an ordinary member. */
  apply(path: string): boolean {
    const name = baseOf(path);
    if (!name.startsWith(WHITEOUT)) return path.startsWith(META);
    const parent = parentOf(path);
    if (name === OPAQUE) {
      if (this.#hasLower) this.#clear(parent);
    } else if (!name.startsWith(META)) {
      const hidden = name.slice(WHITEOUT.length);
      if (hidden === "" || hidden === "." || hidden === "..") {
        throw new LinkError("invalid", `the layer has the bad whiteout "${toText(path)}"`);
      }
      const directory = this.#directories.find(parent);
      if (directory !== undefined && removeAt(directory, hidden) !== "nothing") this.#directories.forget();
    }
    return true;
  }

  /** Removes what lower layers have in a directory. */
  #clear(path: string): void {
    const directory = this.#directories.find(path);
    if (directory === undefined) return;
    for (const name of namesIn(directory)) {
      const child = path === "" ? name : `${path}/${name}`;
      const parent = this.#directories.find(path);
      if (parent === undefined) return;
      if (!this.#made.has(child)) {
        if (removeAt(parent, name) === "directory") this.#directories.forget();
      } else if (isDirectory(parent, name)) this.#clear(child);
    }
  }
}

const isDirectory = (parent: number, name: string): boolean => {
  const fd = openAt(parent, cName(name), OPEN.path | OPEN.directory);
  if (fd < 0) return false;
  closeFd(fd);
  return true;
};
