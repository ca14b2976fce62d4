/** `docker logs`: from the guest while it runs, from memory or by a loader VM from the disk when it does not. */
import type { Channel } from "../../link/contract.ts";
import type { EngineContext } from "../context.ts";
import type { LogEntry, LogOptions } from "../contract.ts";
import { EngineError, invalid } from "../errors.ts";
import { deferred } from "../waiting.ts";
import type { Container } from "./container.ts";
import { isReadable, logAttributes } from "./log-options.ts";
import { readLogRecords } from "./log-records.ts";
import { withStoppedDisk } from "./stopped-disk.ts";

export async function containerLogs(
  context: EngineContext,
  container: Container,
  options: LogOptions,
): Promise<{ terminal: boolean; attributes: Record<string, string>; entries: AsyncIterable<LogEntry> }> {
  if (!options.stdout && !options.stderr) throw invalid("you must choose at least one stream");
  if (!isReadable(container.document))
    throw new EngineError("not-implemented", "configured logging driver does not support reading");
  const { document } = container;
  return {
    terminal: document.config.Tty === true,
    attributes: logAttributes(document),
    entries: entries(context, container, options),
  };
}

async function* entries(context: EngineContext, container: Container, options: LogOptions): AsyncGenerator<LogEntry> {
  await container.finishing;
  if (container.isRunning) {
    yield* fromGuest(container, options);
    return;
  }
  if (container.run === undefined) return;
  if (container.logTail) {
    yield* selectEntries(container.logTail, options);
    return;
  }
  yield* fromDisk(context, container, options);
}

/**
 * From the running guest. A follower ends with the container, whose VM takes the link along when it goes off; when only the
 * link was lost, it goes on where it was as soon as the guest has called again.
 */
async function* fromGuest(container: Container, options: LogOptions): AsyncGenerator<LogEntry> {
  let wanted = options;
  for (;;) {
    try {
      const link = await container.link();
      const channel = link.open("logs", { tree: "container", ...request(wanted) });
      for await (const entry of abortable(readLogRecords, channel, options.signal)) {
        wanted = { ...wanted, since: entry.timeNanoseconds + 1n, tail: -1 };
        yield entry;
      }
      return;
    } catch (error) {
      if (!options.follow || options.signal.aborted) throw error;
      await container.finishing;
      if (container.isRunning) continue;
      // What was written last may have been on its way.
      if (container.logTail && wanted !== options) yield* selectEntries(container.logTail, wanted);
      return;
    }
  }
}

const request = (options: LogOptions) => ({
  ...(options.since === undefined ? {} : { since: options.since.toString() }),
  ...(options.until === undefined ? {} : { until: options.until.toString() }),
  tail: options.tail,
  follow: options.follow,
  stdout: options.stdout,
  stderr: options.stderr,
});

/** A generator cannot be stopped from outside while it waits: the abort closes its channel. */
async function* abortable(
  read: (channel: Channel) => AsyncGenerator<LogEntry>,
  channel: Channel,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  const stop = (): void => channel.close();
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    yield* read(channel);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** The choice that the guest makes for a running container, for entries that are at hand. */
export function selectEntries(all: readonly LogEntry[], options: LogOptions): LogEntry[] {
  const chosen = all.filter(
    (entry) =>
      (entry.stream === 1 ? options.stdout : options.stderr) &&
      (options.since === undefined || entry.timeNanoseconds >= options.since) &&
      (options.until === undefined || entry.timeNanoseconds <= options.until),
  );
  return options.tail < 0 ? chosen : options.tail === 0 ? [] : chosen.slice(-options.tail);
}

/** The loader serves only while its callback runs, so the callback feeds the reader and waits for it. */
async function* fromDisk(context: EngineContext, container: Container, options: LogOptions): AsyncGenerator<LogEntry> {
  const opened = deferred<Channel>();
  const done = deferred<void>();
  const work = withStoppedDisk(context, container, async (link, mount) => {
    opened.resolve(link.open("logs", { tree: { mount }, ...request(options), follow: false }));
    await done.promise;
  });
  work.catch(opened.reject);
  try {
    yield* abortable(readLogRecords, await opened.promise, options.signal);
  } finally {
    done.resolve();
    await work;
  }
}
