/** `docker cp` and `docker export`: in the guest while it runs, by a loader VM when it does not. */
import type { Channel, ChannelMessage, LinkSession } from "../../link/contract.ts";
import { LinkError } from "../../link/link-error.ts";
import { type FileStat, STREAM, type TreeTarget } from "../../link/operations.ts";
import type { EngineContext } from "../context.ts";
import type { PathStat } from "../contract.ts";
import { conflict, EngineError, invalid, notFound } from "../errors.ts";
import { RW_DISK } from "../paths.ts";
import { deferred } from "../waiting.ts";
import type { Container } from "./container.ts";
import { locate, withStoppedDisk } from "./stopped-disk.ts";

/** Where the path is now: `work` gets the session, the tree's name in it, and the path in that tree. */
async function withTree<T>(
  context: EngineContext,
  container: Container,
  options: { write: boolean; path: string },
  work: (link: LinkSession, tree: TreeTarget, path: string) => Promise<T>,
): Promise<T> {
  await container.finishing;
  if (container.isRunning) return await work(await container.link(), "container", options.path);
  const { disk, path, readOnly } = locate(context, container, options.path);
  if (options.write && readOnly) throw new EngineError("forbidden", "container rootfs or volume is marked read-only");
  return await withStoppedDisk(context, container, (link, mount) => work(link, { mount }, path), {
    write: options.write,
    disk,
  });
}

const pathStatOf = ({ name, size, mode, mtime, linkTarget }: FileStat): PathStat => ({
  name,
  size,
  mode,
  mtime,
  linkTarget,
});

/** Errors of the guest as Docker words them. */
function translate(error: unknown, container: Container, path: string): unknown {
  if (!(error instanceof LinkError)) return error;
  switch (error.code) {
    case "not-found":
      return notFound(`Could not find the file ${path} in container ${container.name}`);
    case "not-a-directory":
      return invalid(error.message || "extraction point is not a directory");
    case "read-only":
      return new EngineError("forbidden", "container rootfs is marked read-only");
    case "permission":
      return new EngineError("forbidden", error.message);
    case "invalid":
    case "exists":
      return invalid(error.message);
    default:
      return new EngineError("internal", error.message, { cause: error });
  }
}

export async function pathStat(context: EngineContext, container: Container, path: string): Promise<PathStat> {
  try {
    return pathStatOf(
      await withTree(context, container, { write: false, path }, (link, tree, inner) =>
        link.call("pathStat", { tree, path: inner }),
      ),
    );
  } catch (error) {
    throw translate(error, container, path);
  }
}

export async function readArchive(
  context: EngineContext,
  container: Container,
  path: string,
): Promise<{ stat: PathStat; tar: ReadableStream<Uint8Array> }> {
  const opened = deferred<{ stat: PathStat; messages: AsyncIterator<Uint8Array>; channel: Channel }>();
  const done = deferred<void>();
  const work = withTree(context, container, { write: false, path }, async (link, tree, inner) => {
    const channel = link.open("archiveRead", { tree, path: inner });
    const messages = channel[Symbol.asyncIterator]();
    const first = await messages.next();
    if (first.done || first.value.kind !== "control")
      throw new EngineError("internal", "the guest did not say what the archive is of");
    opened.resolve({
      stat: pathStatOf(first.value.message as unknown as FileStat),
      messages: dataOf(messages),
      channel,
    });
    await done.promise;
  });
  work.catch(opened.reject);
  try {
    const { stat, messages, channel } = await opened.promise;
    return { stat, tar: streamOf(messages, channel, done.resolve) };
  } catch (error) {
    done.resolve();
    throw translate(error, container, path);
  }
}

export async function exportContainer(
  context: EngineContext,
  container: Container,
): Promise<ReadableStream<Uint8Array>> {
  await container.finishing;
  if (container.isRunning) {
    const link = await container.link();
    const channel = link.open("treeExport", { tree: "container" });
    return streamOf(dataOf(channel[Symbol.asyncIterator]()), channel, () => undefined);
  }
  const opened = deferred<Channel>();
  const done = deferred<void>();
  const work = withStoppedDisk(context, container, async (link, mount) => {
    opened.resolve(link.open("treeExport", { tree: { mount } }));
    await done.promise;
  });
  work.catch(opened.reject);
  const channel = await opened.promise;
  return streamOf(dataOf(channel[Symbol.asyncIterator]()), channel, done.resolve);
}

export async function writeArchive(
  context: EngineContext,
  container: Container,
  path: string,
  tar: ReadableStream<Uint8Array>,
  options: { noOverwriteDirNonDir: boolean; copyOwner: boolean },
): Promise<void> {
  try {
    await withTree(context, container, { write: true, path }, async (link, tree, inner) => {
      const user = options.copyOwner && tree !== "container" ? ownerOf(context, container, path) : undefined;
      const channel = link.open("archiveWrite", { tree, path: inner, ...options, ...(user ? { user } : {}) });
      const answers = drain(channel);
      try {
        for await (const bytes of tar) await channel.send(STREAM.stdin, bytes);
        await channel.end(STREAM.stdin);
      } catch (error) {
        // A failed unpack closes the channel: its own error says more than the failed send.
        await answers;
        channel.close({ code: "invalid", message: "the client's archive broke off" });
        throw error;
      }
      await answers;
    });
  } catch (error) {
    throw translate(error, container, path);
  }
}

/** The user that gets what is copied with -a. On a volume's disk there is no /etc/passwd to look a name up in. */
function ownerOf(context: EngineContext, container: Container, path: string): string | undefined {
  const user = container.document.config.User;
  const onRoot = locate(context, container, path).disk.endsWith(`/${RW_DISK}`);
  if (user && !onRoot && !/^\d+(:\d+)?$/.test(user))
    throw conflict(
      `the user ${user} of container ${container.name} cannot be looked up for a volume while it is stopped: start it, or copy without -a`,
    );
  return user || undefined;
}

/** Reads to the end; throws the guest's error. */
async function drain(channel: Channel): Promise<void> {
  const messages = channel[Symbol.asyncIterator]();
  while (!(await messages.next()).done);
}

async function* dataOf(messages: AsyncIterator<ChannelMessage>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const next = await messages.next();
    if (next.done) return;
    if (next.value.kind === "data" && next.value.stream === STREAM.stdout) yield next.value.bytes;
  }
}

/** A pulled stream: the guest sends as fast as the client reads. `done` is called once, however it ends. */
function streamOf(bytes: AsyncIterator<Uint8Array>, channel: Channel, done: () => void): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await bytes.next();
          if (!next.done) {
            controller.enqueue(next.value);
            return;
          }
          controller.close();
        } catch (error) {
          controller.error(error);
        }
        done();
      },
      cancel() {
        channel.close();
        done();
      },
    },
    { highWaterMark: 1 },
  );
}
