import { posix } from "node:path";
import { bytesContent, type IsoDirectory, type IsoNode } from "../src/format/iso9660";

/** As many symlinks as Linux follows in one path. */
const MAX_LINKS = 40;

/** Folders that merged-/usr systems keep under /usr only; packages name them either way. */
const merged = new Set(["bin", "sbin", "lib", "lib32", "lib64", "libx32"]);

/** A file system while it is being put together: the root of container VMs, or the medium around it. */
export class RootTree {
  readonly root: IsoDirectory = emptyDirectory();

  /** @param hasPrograms whether it gets the folders of a root file system, with `/bin` and its like below `/usr` */
  constructor(hasPrograms = true) {
    if (!hasPrograms) return;
    for (const name of ["bin", "sbin", "lib", "lib64"]) {
      this.directory(`usr/${name}`);
      this.root.entries.set(name, { type: "symlink", target: `usr/${name}` });
    }
  }

  /** The directory at a path, made with its parents if needed. */
  directory(path: string, mode = 0o755): IsoDirectory {
    let current = this.root;
    for (const part of partsOf(path)) {
      const next = current.entries.get(part) ?? emptyDirectory();
      if (next.type !== "directory") throw new Error(`${path}: ${part} is not a directory`);
      current.entries.set(part, next);
      current = next;
    }
    current.mode = mode;
    return current;
  }

  /** Puts a file or symlink at a path. @throws Error when something different is there already */
  add(path: string, node: IsoNode): void {
    const parts = partsOf(path);
    const name = parts.pop();
    if (name === undefined) throw new Error("an empty path cannot be added to the image");
    const parent = this.directory(parts.join("/"));
    if (parent.entries.has(name)) throw new Error(`two sources provide ${path}`);
    parent.entries.set(name, node);
  }

  /** Whether a program finds a file under an absolute path, through symlinks of the tree. */
  has(path: string, links = 0): boolean {
    let current: IsoNode = this.root;
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    for (const [index, part] of parts.entries()) {
      if (current.type !== "directory") return false;
      const next: IsoNode | undefined = current.entries.get(part);
      if (next === undefined) return false;
      if (next.type === "symlink") {
        const before = next.target.startsWith("/") ? "" : parts.slice(0, index).join("/");
        const rest = parts.slice(index + 1).join("/");
        return links < MAX_LINKS && this.has(posix.normalize(`/${before}/${next.target}/${rest}`), links + 1);
      }
      current = next;
    }
    return true;
  }

  /** Where nobody brought libraries for `/lib64`, it is the same as `/lib`: Photon links its programs so. */
  joinLibraryFolders(): void {
    const folders = this.directory("usr").entries;
    const folder = folders.get("lib64");
    if (folder?.type === "directory" && folder.entries.size === 0)
      folders.set("lib64", { type: "symlink", target: "lib" });
  }

  addText(path: string, text: string): void {
    this.add(path, { type: "file", mode: 0o644, content: bytesContent(Buffer.from(text)) });
  }
}

function partsOf(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new Error(`${path} leaves the image`);
  return merged.has(parts[0] ?? "") ? ["usr", ...parts] : parts;
}

function emptyDirectory(): IsoDirectory {
  return { type: "directory", mode: 0o755, entries: new Map() };
}
