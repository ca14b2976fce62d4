/** COPY and ADD: their sources are found (and fetched) and hashed before the cache is asked. */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { invalid } from "../errors.ts";
import type { LayerContentSource } from "../images/contract.ts";
import { copyLayer } from "./copy/layer.ts";
import { parseMode } from "./copy/mode.ts";
import { type CopyItem, exclusion, findSources } from "./copy/sources.ts";
import { expandHeredoc } from "./dockerfile/expand.ts";
import type { Instruction } from "./dockerfile/instructions.ts";
import { download, isRepository, isUrl } from "./download.ts";
import { directoryNode, type FileNode, FileTree } from "./files/file-tree.ts";
import { absolute } from "./files/paths.ts";
import { Spool } from "./files/spool.ts";
import { readImageFiles } from "./image-files.ts";
import { FILES_PER_TURN } from "./limits.ts";
import type { StageState } from "./stage-state.ts";
import type { Build } from "./steps.ts";

type CopyInstruction = Extract<Instruction, { kind: "copy" | "add" }>;

/** Dispose when its layer was written: then its temporary files go. */
export interface PreparedCopy extends AsyncDisposable {
  comment: string;
  key: string[];
  layer: LayerContentSource;
}

export async function prepareCopy(
  build: Build,
  state: StageState,
  instruction: CopyInstruction,
): Promise<PreparedCopy> {
  const cleanup = new AsyncDisposableStack();
  try {
    return await prepare(build, state, instruction, cleanup);
  } catch (error) {
    await cleanup.disposeAsync();
    throw error;
  }
}

async function prepare(
  build: Build,
  state: StageState,
  instruction: CopyInstruction,
  cleanup: AsyncDisposableStack,
): Promise<PreparedCopy> {
  const keyword = instruction.kind === "copy" ? "COPY" : "ADD";
  const options = {
    ...instruction.options,
    chown: expanded(state, instruction.options.chown),
    chmod: expanded(state, instruction.options.chmod),
    exclude: instruction.options.exclude.map((pattern) => state.expand(pattern)),
  };
  const sources = instruction.sources.map((source) => state.expand(source));
  const destination = state.expand(instruction.destination);
  const items = await itemsOf(build, state, { ...instruction, sources, options, destination }, cleanup);
  if (items.length === 0) throw invalid(`${keyword} failed: no source files were specified`);
  if (items.length > 1 && !destination.endsWith("/") && !options.parents)
    throw invalid(
      `When using ${keyword} with more than one source file, the destination must be a directory and end with a /`,
    );
  const [only] = items;
  const digest = await contentDigest(items, options.exclude, options.from !== undefined);
  const what = items.length > 1 ? "multi" : only?.node.type === "directory" ? "dir" : "file";
  const path = absolute(state.workingDirectory, destination);
  return {
    comment: `${keyword} ${what}:${digest} in ${destination} `,
    key: [
      path,
      JSON.stringify([options.chown, options.chmod, options.exclude, options.parents, options.link, options.unpack]),
      options.from === undefined ? "" : "from",
    ],
    layer: copyLayer({
      items,
      destination: path,
      intoDirectory: destination.endsWith("/") || destination.endsWith("/.") || destination === "." || items.length > 1,
      chown: options.chown,
      keepOwner: options.from !== undefined,
      chmod: options.chmod === undefined ? undefined : parseMode(options.chmod),
      exclude: options.exclude,
      followSymlinks: !options.link,
    }),
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}

const expanded = (state: StageState, text: string | undefined): string | undefined =>
  text === undefined ? undefined : state.expand(text);

async function itemsOf(
  build: Build,
  state: StageState,
  { kind, options, sources, heredocs, destination }: CopyInstruction,
  cleanup: AsyncDisposableStack,
): Promise<CopyItem[]> {
  const keyword = kind === "copy" ? "COPY" : "ADD";
  const temporary = async (): Promise<FileTree> => new FileTree(cleanup.use(await Spool.create(build.spoolDirectory)));
  const items: CopyItem[] = [];
  if (heredocs.length > 0) {
    const tree = await temporary();
    for (const { name, content, expand } of heredocs) {
      const text = expand ? expandHeredoc(content, state.expansion) : content;
      const node = await fileNode(tree, name, [new TextEncoder().encode(text)], 0n);
      items.push({ tree, node, name, parents: "", unpack: false });
    }
  }
  const local: string[] = [];
  for (const source of sources) {
    if (isRepository(source))
      throw invalid(
        `${keyword} failed: ${source} is a git repository, which is not supported: clone it in a RUN instruction, or use its archive's URL`,
      );
    if (!isUrl(source)) {
      local.push(source);
      continue;
    }
    if (kind === "copy") throw invalid("COPY failed: source can't be a URL for COPY");
    const tree = await temporary();
    const { name, body, modified } = await download(source, build.options.signal);
    if (name === undefined && destination.endsWith("/"))
      throw invalid(`ADD failed: cannot determine filename for source ${source}`);
    await build.output.line("");
    const node = await fileNode(tree, name ?? "__unnamed__", body, modified, 0o600);
    checkDigest(source, node, options.checksum);
    items.push({ tree, node, name: node.path, parents: "", unpack: options.unpack ?? false });
  }
  if (options.checksum !== undefined && local.length > 0)
    throw invalid("ADD failed: --checksum is for URLs: the context's files are what the client sent");
  if (local.length === 0) return items;
  const { from } = options;
  const tree =
    from === undefined
      ? build.files
      : await readImageFiles(build.steps, await build.imageOf(from), local, await temporary());
  const unpack = options.unpack ?? kind === "add";
  for (const source of local)
    items.push(
      ...findSources(tree, source, { keyword, isContext: from === undefined, parents: options.parents, unpack }),
    );
  return items;
}

async function fileNode(
  tree: FileTree,
  path: string,
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  mtime: bigint,
  mode = 0o644,
): Promise<FileNode> {
  const content = await tree.spool.write(asynchronous(body));
  const node: FileNode = { ...directoryNode(path), type: "file", mode, mtime, content };
  tree.add(node);
  return node;
}

async function* asynchronous(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* body;
}

function checkDigest(source: string, node: FileNode, wanted: string | undefined): void {
  if (wanted === undefined) return;
  if (!/^sha256:[0-9a-f]{64}$/.test(wanted))
    throw invalid(`ADD failed: --checksum=${wanted} is no digest of the form sha256:… with 64 hexadecimal digits`);
  const actual = `sha256:${node.content?.digest ?? ""}`;
  if (actual !== wanted) throw invalid(`ADD failed: digest mismatch of ${source}: expected ${wanted}, got ${actual}`);
}

/** Over names, kinds, modes, contents and the owners where they are kept; not over times, as with Docker. */
async function contentDigest(
  items: readonly CopyItem[],
  exclude: readonly string[],
  withOwners: boolean,
): Promise<string> {
  const hash = createHash("sha256");
  const excluded = exclusion(exclude);
  let visited = 0;
  for (const { tree, node: root, name, parents } of items) {
    hash.update(JSON.stringify([root.type === "directory" ? "" : name, parents]));
    for (const node of tree.walk(root.path)) {
      visited += 1;
      if (visited % FILES_PER_TURN === 0) await setImmediate();
      if (excluded(node.path, root.type === "directory" ? root.path : "")) continue;
      const { type, mode, uid, gid, linkName, device, content } = node;
      const xattrs = [...node.xattrs].map(([key, value]) => [key, Buffer.from(value).toString("base64")]).sort();
      const inside = root.path === "" ? node.path : node.path.slice(root.path.length);
      const owner = withOwners ? [uid, gid] : [];
      hash.update(JSON.stringify([inside, type, mode, owner, linkName, device, content?.digest ?? "", xattrs]));
    }
  }
  return hash.digest("hex");
}
