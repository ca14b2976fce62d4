/** Which files of a tree a COPY or ADD names. */
import { invalid, notFound } from "../../errors.ts";
import type { FileNode, FileTree } from "../files/file-tree.ts";
import { ignorePatterns } from "../files/ignore-patterns.ts";
import { baseName, joined, normalised } from "../files/paths.ts";
import { componentMatcher, hasWildcards, withoutEscapes } from "../files/wildcards.ts";

export interface CopyItem {
  tree: FileTree;
  /** What is copied: for a symlink that was named, what it leads to. */
  node: FileNode;
  /** Name that a file gets in a destination directory. */
  name: string;
  /** With --parents: directories to make below the destination. */
  parents: string;
  /** An archive out of a URL stays one. */
  unpack: boolean;
}

export interface SourceOptions {
  keyword: "COPY" | "ADD";
  /** Words of error messages: the build context's files may be hidden by .dockerignore. */
  isContext: boolean;
  parents: boolean;
  unpack: boolean;
}

/** Throws EngineError with Docker's texts. */
export function findSources(tree: FileTree, source: string, options: SourceOptions): CopyItem[] {
  const { keyword } = options;
  const [pivot, text] = pivoted(source, options.parents);
  const path = normalised(text);
  if (path === undefined) throw invalid(`${keyword} failed: forbidden path outside the build context: ${source} ()`);
  if (hasWildcards(path)) {
    return matching(tree, path).map((found) => itemOf(tree, found, pivot, options));
  }
  return [itemOf(tree, withoutEscapes(path), pivot, options)];
}

/** `a/./b` with --parents keeps only what follows the dot. */
function pivoted(source: string, parents: boolean): [pivot: string, path: string] {
  const at = parents ? source.indexOf("/./") : -1;
  return at === -1 ? ["", source] : [normalised(source.slice(0, at)) ?? "", source];
}

function itemOf(tree: FileTree, path: string, pivot: string, options: SourceOptions): CopyItem {
  const node = tree.resolve(path);
  if (node === undefined) {
    const hint = options.isContext ? "file not found in build context or excluded by .dockerignore: " : "";
    throw notFound(`${options.keyword} failed: ${hint}stat ${path}: file does not exist`);
  }
  const separator = path.lastIndexOf("/");
  const directory = separator === -1 ? "" : path.slice(0, separator);
  const below = pivot === "" ? directory : directory === pivot ? "" : directory.slice(pivot.length + 1);
  return { tree, node, name: baseName(path), parents: options.parents ? below : "", unpack: options.unpack };
}

function matching(tree: FileTree, pattern: string): string[] {
  let found = [""];
  for (const component of pattern.split("/")) {
    const next: string[] = [];
    const matches = hasWildcards(component) ? componentMatcher(component) : undefined;
    for (const directory of found) {
      if (matches === undefined) {
        const path = joined(directory, withoutEscapes(component));
        if (tree.get(path) !== undefined) next.push(path);
      } else next.push(...tree.children(directory).filter((path) => matches(baseName(path))));
    }
    found = next;
  }
  return found;
}

/** Whether --exclude leaves a file out, by its path in the tree and by its path below what is copied. */
export function exclusion(patterns: readonly string[]): (path: string, root: string) => boolean {
  if (patterns.length === 0) return () => false;
  const { ignores } = ignorePatterns(patterns);
  return (path, root) => ignores(path) || ignores(root === "" ? path : path.slice(root.length + 1));
}
