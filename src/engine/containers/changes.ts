/** `docker diff`, and what `docker commit` makes a layer of. */
import type { Channel, LinkSession } from "../../link/contract.ts";
import { LinkError } from "../../link/link-error.ts";
import { STREAM, type TreeTarget } from "../../link/operations.ts";
import { readTreeRecords } from "../../link/tree-record.ts";
import type { EngineContext } from "../context.ts";
import type { FilesystemChange } from "../contract.ts";
import { conflict, EngineError } from "../errors.ts";
import { RW_DISK } from "../paths.ts";
import type { Container } from "./container.ts";
import { type TreeChange, treeChanges } from "./tree-changes.ts";

/** Longest answer of `docker diff`; a commit has no such limit. */
const CHANGES_LIMIT = 1_000_000;

export async function containerChanges(context: EngineContext, container: Container): Promise<FilesystemChange[]> {
  return await withBothTrees(context, container, async ({ changes }) => {
    const answer: FilesystemChange[] = [];
    for await (const { path, kind } of changes()) {
      if (answer.length >= CHANGES_LIMIT)
        throw new EngineError(
          "internal",
          `the container has changed more than ${CHANGES_LIMIT} files: use docker export`,
        );
      answer.push({ Path: `/${Buffer.from(path, "latin1").toString("utf8")}`, Kind: kind });
    }
    return answer;
  });
}

export interface BothTrees {
  changes(): AsyncGenerator<TreeChange, void, undefined>;
  /** The changes as an OCI image layer. */
  layer(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** The container's own disk and its image's, both where their files can be read, while `work` runs. */
export async function withBothTrees<T>(
  context: EngineContext,
  container: Container,
  work: (trees: BothTrees) => Promise<T>,
): Promise<T> {
  await container.finishing;
  const image = { path: context.images.diskOf(container.document.image.id), readOnly: true };
  if (container.isRunning) {
    const link = await container.link();
    return await context.loaders.use([image], async ({ link: loader, disks: [disk] }) =>
      withMount(loader, disk, (mount) =>
        work(bothTrees({ link: loader, tree: { mount } }, { link, tree: "container" })),
      ),
    );
  }
  const own = { path: `${context.paths.container(container.id)}/${RW_DISK}`, readOnly: true };
  return await context.loaders.use([image, own], async ({ link, disks: [imageDisk, ownDisk] }) => {
    if (container.isRunning || container.starting)
      throw conflict(`container ${container.name} was started meanwhile: try again`);
    return await withMount(link, imageDisk, (below) =>
      withMount(link, ownDisk, (mount) => work(bothTrees({ link, tree: { mount: below } }, { link, tree: { mount } }))),
    );
  });
}

async function withMount<T>(
  link: LinkSession,
  disk: { bus: number; unit: number } | undefined,
  work: (mount: string) => Promise<T>,
): Promise<T> {
  if (!disk) throw new EngineError("internal", "the loader VM has no address for the disk");
  const { mount } = await link.call("diskMount", { disk, readOnly: true });
  try {
    return await work(mount);
  } finally {
    await link.call("diskUnmount", { mount });
  }
}

interface Tree {
  link: LinkSession;
  tree: TreeTarget;
}

const bothTrees = (below: Tree, own: Tree): BothTrees => {
  const changes = () => treeChanges(records(below), records(own));
  return { changes, layer: () => packedLayer(own, changes()) };
};

async function* records({ link, tree }: Tree) {
  const channel = link.open("treeList", { tree });
  try {
    yield* readTreeRecords(bytesOf(channel));
  } catch (error) {
    throw unsupportedGuest(error);
  } finally {
    channel.close();
  }
}

async function* packedLayer({ link, tree }: Tree, changes: AsyncIterable<TreeChange>) {
  const channel = link.open("layerPack", { tree });
  const sent = sendPaths(channel, changes).catch((error: unknown) => {
    channel.close({ code: "internal", message: "the comparison with the image failed" });
    throw error;
  });
  sent.catch(() => undefined);
  try {
    yield* bytesOf(channel);
  } catch (error) {
    // When the comparison failed, the channel ended because of that: its words say more.
    await sent;
    throw error;
  } finally {
    channel.close();
  }
  await sent;
}

/** Paths are sent in pieces of about this many bytes. */
const BATCH = 32 * 1024;

async function sendPaths(channel: Channel, changes: AsyncIterable<TreeChange>): Promise<void> {
  let batch = "";
  for await (const { path, kind } of changes) {
    batch += `${kind === 2 ? "D" : "P"}${path}\0`;
    if (batch.length < BATCH) continue;
    await channel.send(STREAM.stdin, Buffer.from(batch, "latin1"));
    batch = "";
  }
  if (batch !== "") await channel.send(STREAM.stdin, Buffer.from(batch, "latin1"));
  await channel.end(STREAM.stdin);
}

async function* bytesOf(channel: Channel): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const message of channel)
    if (message.kind === "data" && message.stream === STREAM.stdout) yield message.bytes;
}

/** A VM keeps the boot medium that it was started with. */
const unsupportedGuest = (error: unknown): unknown =>
  error instanceof LinkError && error.code === "unsupported"
    ? new EngineError("conflict", `${error.message}: it runs from an older bootstrap ISO. Restart the container`, {
        cause: error,
      })
    : error;
