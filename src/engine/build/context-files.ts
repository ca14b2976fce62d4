/** The build context: a tar out of the request, spooled and indexed, without what .dockerignore names. */
import { setImmediate } from "node:timers/promises";
import { FormatError } from "../../format/format-error.ts";
import { invalid } from "../errors.ts";
import { decompress } from "../images/decompress.ts";
import { FileTree, readText, readTree } from "./files/file-tree.ts";
import { ignorePatterns } from "./files/ignore-patterns.ts";
import { normalised } from "./files/paths.ts";
import type { Spool } from "./files/spool.ts";
import { DOCKERFILE_LIMIT, DOCKERIGNORE_LIMIT, FILES_PER_TURN } from "./limits.ts";

const DOCKERIGNORE = ".dockerignore";

export interface BuildContext {
  tree: FileTree;
  dockerfile: string;
}

/** Throws EngineError for what is no archive, or has no such Dockerfile. */
export async function readContext(
  spool: Spool,
  archive: AsyncIterable<Uint8Array>,
  dockerfilePath: string,
): Promise<BuildContext> {
  const tree = new FileTree(spool);
  await readArchive(tree, archive);
  const path = normalised(dockerfilePath);
  if (path === undefined) throw invalid(`the Dockerfile (${dockerfilePath}) must be within the build context`);
  // As dockerd: a Dockerfile named by default may be written small.
  const node = tree.resolve(path) ?? (dockerfilePath === "Dockerfile" ? tree.resolve("dockerfile") : undefined);
  if (node === undefined) throw invalid(`Cannot locate specified Dockerfile: ${dockerfilePath}`);
  if (node.content === undefined) throw invalid(`the Dockerfile (${dockerfilePath}) is no file`);
  if (node.content.length === 0) throw invalid(`the Dockerfile (${dockerfilePath}) cannot be empty`);
  const dockerfile = await readText(tree, node, DOCKERFILE_LIMIT);
  await removeIgnored(tree, path);
  return { tree, dockerfile };
}

async function readArchive(tree: FileTree, archive: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    await readTree(tree, decompress(archive, "the build context"));
  } catch (error) {
    throw error instanceof FormatError ? invalid(`the build context cannot be read: ${error.message}`) : error;
  }
}

/** A file of its own for one Dockerfile comes before the common one. */
async function removeIgnored(tree: FileTree, dockerfile: string): Promise<void> {
  const node = tree.resolve(`${dockerfile}${DOCKERIGNORE}`) ?? tree.resolve(DOCKERIGNORE);
  if (node?.content === undefined) return;
  const { ignores, hasExceptions } = ignorePatterns((await readText(tree, node, DOCKERIGNORE_LIMIT)).split(/\r?\n/));
  let visited = 0;
  const emptied: string[] = [];
  for (const { path, type } of tree.walk("")) {
    visited += 1;
    if (visited % FILES_PER_TURN === 0) await setImmediate();
    if (path === "" || !ignores(path)) continue;
    // A directory stays when something in it may be taken back in.
    if (type === "directory" && hasExceptions) emptied.push(path);
    else tree.remove(path);
  }
  for (const path of emptied.reverse()) if (tree.children(path).length === 0) tree.remove(path);
}
