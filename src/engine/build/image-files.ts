/** COPY --from: the files that are named, out of another image's disk, into a spool. */
import { invalid, notFound } from "../errors.ts";
import type { BuildSteps, LayerBelow } from "../images/contract.ts";
import { type FileTree, readTree } from "./files/file-tree.ts";
import { cleaned, joined } from "./files/paths.ts";
import { componentMatcher, hasWildcards, withoutEscapes } from "./files/wildcards.ts";
import { SYMLINKS_LIMIT } from "./limits.ts";

const GO_DIRECTORY = 2 ** 31;
const GO_SYMLINK = 2 ** 27;

export async function readImageFiles(
  steps: BuildSteps,
  imageId: string,
  sources: readonly string[],
  tree: FileTree,
): Promise<FileTree> {
  await steps.withFiles(imageId, async (files) => {
    for (const source of sources) await readSource(files, cleaned(source), tree);
  });
  return tree;
}

async function readSource(files: LayerBelow, source: string, tree: FileTree): Promise<void> {
  const components = source === "" ? [] : source.split("/");
  const first = components.findIndex(hasWildcards);
  if (first === -1) {
    await readPath(files, components.map(withoutEscapes).join("/"), tree, () => true);
    return;
  }
  const base = components.slice(0, first).map(withoutEscapes).join("/");
  const matchers = components
    .slice(first)
    .map((component) => (hasWildcards(component) ? componentMatcher(component) : equals(withoutEscapes(component))));
  // Only what the pattern can match is read: a member's first components must match the pattern's.
  await readPath(files, base, tree, (inside) =>
    inside
      .split("/")
      .slice(0, matchers.length)
      .every((name, index) => matchers[index]?.(name) === true),
  );
}

const equals =
  (text: string) =>
  (name: string): boolean =>
    name === text;

/** A path and, when it is a symlink, what it leads to. */
async function readPath(
  files: LayerBelow,
  path: string,
  tree: FileTree,
  wanted: (inside: string) => boolean,
  depth = 0,
): Promise<void> {
  if (depth > SYMLINKS_LIMIT) throw invalid(`too many levels of symbolic links: /${path}`);
  if (tree.get(path)?.type === "file") return;
  const stat = await files.stat(`/${path}`);
  if (stat === undefined) throw notFound(`COPY failed: stat ${path}: file does not exist`);
  if (stat.mode >= GO_DIRECTORY) {
    await readTree(tree, files.archive(`/${path}/.`), (inside) =>
      inside === "" || wanted(inside) ? joined(path, inside) : undefined,
    );
    return;
  }
  const separator = path.lastIndexOf("/");
  const directory = separator === -1 ? "" : path.slice(0, separator);
  await readTree(tree, files.archive(`/${path}`), (inside) => joined(directory, inside));
  if ((stat.mode & GO_SYMLINK) !== 0) await readPath(files, cleaned(stat.linkTarget), tree, wanted, depth + 1);
}
