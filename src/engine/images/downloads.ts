/** Layers of one pull, downloaded a little ahead of where they are unpacked: in memory, and bounded. */
import type { RemoteImage } from "../../registry/client.ts";
import type { ProgressSink } from "../contract.ts";
import { ByteQueue } from "./byte-queue.ts";

/** Connections to the registry at once. */
const DOWNLOADS_AT_ONCE = 3;
/** What one layer may be ahead. */
const AHEAD_LIMIT_BYTES = 8 * 1024 * 1024;
/** Progress lines of one layer come this far apart, so that a client is not drowned. */
const PROGRESS_INTERVAL_MILLISECONDS = 100;

export interface Downloads {
  /** The layer's raw bytes; must be asked for in the order of `indexes`. Iterating fails when the digest is wrong. */
  open(index: number): AsyncIterable<Uint8Array>;
  /** Stops everything under way. */
  stop(reason: unknown): void;
}

/** @param indexes layers to download, in the order of use */
export function startDownloads(
  remote: RemoteImage,
  indexes: readonly number[],
  progress: (index: number) => ProgressSink,
  signal: AbortSignal,
): Downloads {
  const controller = new AbortController();
  const both = AbortSignal.any([signal, controller.signal]);
  const queues = new Map(indexes.map((index) => [index, new ByteQueue(AHEAD_LIMIT_BYTES)]));
  const waiting = [...indexes];

  async function download(index: number): Promise<void> {
    const queue = queues.get(index);
    const layer = remote.manifest.layers[index];
    if (queue === undefined || layer === undefined) return;
    const report = progress(index);
    let current = 0;
    let lastReport = 0;
    try {
      for await (const chunk of remote.blob(layer, both)) {
        current += chunk.length;
        const now = performance.now();
        if (now - lastReport >= PROGRESS_INTERVAL_MILLISECONDS) {
          lastReport = now;
          report({ status: "Downloading", progressDetail: { current, total: layer.size } });
        }
        await queue.push(chunk);
      }
      report({ status: "Verifying Checksum", progressDetail: {} });
      report({ status: "Download complete", progressDetail: {} });
      queue.end();
    } catch (error) {
      queue.fail(error);
    }
  }

  async function worker(): Promise<void> {
    for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
      if (both.aborted) return;
      await download(index);
    }
  }
  for (let count = 0; count < DOWNLOADS_AT_ONCE; count++) void worker();

  return {
    open(index) {
      const queue = queues.get(index);
      if (queue === undefined) throw new Error(`layer ${index} is not among the downloads`);
      return queue;
    },
    stop(reason) {
      controller.abort(reason);
      for (const queue of queues.values()) queue.fail(reason);
    },
  };
}
