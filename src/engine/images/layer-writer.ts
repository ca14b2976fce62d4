/** Writes layers into a disk through a loader VM. */
import type { LinkSession } from "../../link/contract.ts";
import type { DiskAddress } from "../../link/guest-configuration.ts";
import { LinkError } from "../../link/link-error.ts";
import { type FileStat, type LayerStatistics, STREAM, type TreeTarget } from "../../link/operations.ts";
import { Digester } from "../../registry/digest.ts";
import { EngineError } from "../errors.ts";
import type { LayerBelow } from "./contract.ts";
import { decompress } from "./decompress.ts";

/** ext4 labels hold 16 bytes. */
const DISK_LABEL = "vch-image";

/** A mounted, writable disk in a loader. */
export interface LayerWriter {
  /** What is on it now. */
  below: LayerBelow;
  /** Unpacks a layer, compressed or not. `diffId` undefined takes whatever digest comes out. */
  apply(
    data: AsyncIterable<Uint8Array>,
    expected: { diffId: string | undefined; limitBytes: number },
    signal: AbortSignal,
  ): Promise<{ statistics: LayerStatistics; diffId: string }>;
}

export async function withLayerWriter<T>(
  link: LinkSession,
  disk: DiskAddress,
  format: boolean,
  work: (writer: LayerWriter) => Promise<T>,
): Promise<T> {
  if (format) await link.call("diskFormat", { disk, label: DISK_LABEL });
  const { mount } = await link.call("diskMount", { disk, readOnly: false });
  let failed = true;
  try {
    const result = await work({
      below: filesOf(link, { mount }),
      apply: (data, expected, signal) => applyLayer(link, mount, data, expected, signal),
    });
    failed = false;
    return result;
  } finally {
    const unmounted = link.call("diskUnmount", { mount });
    // The first error is the one to tell; a disk that failed is thrown away anyway.
    await (failed ? unmounted.catch(() => undefined) : unmounted);
  }
}

/** The whole content of a disk as a tar. */
export async function withTreeExport<T>(
  link: LinkSession,
  disk: DiskAddress,
  work: (tar: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  const { mount } = await link.call("diskMount", { disk, readOnly: true });
  const channel = link.open("treeExport", { tree: { mount } });
  try {
    return await work(dataOf(channel));
  } finally {
    channel.close();
    await link.call("diskUnmount", { mount });
  }
}

/** Reads files of a disk while `work` runs. */
export async function withFiles<T>(
  link: LinkSession,
  disk: DiskAddress,
  work: (files: LayerBelow) => Promise<T>,
): Promise<T> {
  const { mount } = await link.call("diskMount", { disk, readOnly: true });
  try {
    return await work(filesOf(link, { mount }));
  } finally {
    await link.call("diskUnmount", { mount });
  }
}

const ABSENT = new Set(["not-found", "not-a-directory"]);

const filesOf = (link: LinkSession, tree: TreeTarget): LayerBelow => ({
  async stat(path): Promise<FileStat | undefined> {
    try {
      return await link.call("pathStat", { tree, path });
    } catch (error) {
      if (error instanceof LinkError && ABSENT.has(error.code)) return undefined;
      throw error;
    }
  },
  async *archive(path) {
    const channel = link.open("archiveRead", { tree, path });
    try {
      yield* dataOf(channel);
    } finally {
      channel.close();
    }
  },
});

async function* dataOf(channel: ReturnType<LinkSession["open"]>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const message of channel)
    if (message.kind === "data" && message.stream === STREAM.stdout) yield message.bytes;
}

async function applyLayer(
  link: LinkSession,
  mount: string,
  data: AsyncIterable<Uint8Array>,
  expected: { diffId: string | undefined; limitBytes: number },
  signal: AbortSignal,
): Promise<{ statistics: LayerStatistics; diffId: string }> {
  const channel = link.open("layerApply", { mount });
  const onAbort = (): void => channel.close({ code: "internal", message: "the request was cancelled" });
  signal.addEventListener("abort", onAbort, { once: true });
  const answer = readStatistics(channel).then(
    (statistics) => ({ statistics }),
    (error: unknown) => ({ error }),
  );
  try {
    const digester = new Digester(expected.diffId);
    let length = 0;
    for await (const chunk of decompress(data, "the layer")) {
      signal.throwIfAborted();
      length += chunk.length;
      if (length > expected.limitBytes) {
        throw new EngineError(
          "internal",
          `the layer unpacks to more than the ${expected.limitBytes} bytes of its disk`,
        );
      }
      digester.update(chunk);
      await channel.send(STREAM.stdin, chunk);
    }
    const diffId = digester.digest();
    if (expected.diffId !== undefined && diffId !== expected.diffId) {
      throw new EngineError(
        "internal",
        `filesystem layer verification failed: the layer's content is ${diffId}, the image configuration says ${expected.diffId}`,
      );
    }
    await channel.end(STREAM.stdin);
    const result = await answer;
    if ("error" in result) throw layerError(result.error);
    return { statistics: result.statistics, diffId };
  } catch (error) {
    channel.close({ code: "internal", message: "the layer cannot be applied" });
    signal.throwIfAborted();
    // When the loader refused, our sends failed because of that: its words say more.
    const result = await answer;
    throw "error" in result && isLinkError(error) ? layerError(result.error) : error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    channel.close();
  }
}

const isLinkError = (error: unknown): error is Error & { code: string } =>
  error instanceof Error && error.name === "LinkError";

function layerError(error: unknown): unknown {
  if (!isLinkError(error)) return error;
  const advice =
    error.code === "no-space"
      ? "; the image does not fit in its disk: set a larger image disk size for this container host"
      : "";
  return new EngineError("internal", `failed to register layer: ${error.message}${advice}`, { cause: error });
}

async function readStatistics(channel: ReturnType<LinkSession["open"]>): Promise<LayerStatistics> {
  let statistics: LayerStatistics | undefined;
  for await (const message of channel) {
    if (message.kind !== "control") continue;
    const { bytes, entries } = message.message;
    if (typeof bytes === "number" && typeof entries === "number") statistics = { bytes, entries };
  }
  if (statistics === undefined)
    throw new EngineError("internal", "the loader VM ended without saying how the layer went");
  return statistics;
}
