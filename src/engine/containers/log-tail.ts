/** A short log of a run that just ended is kept in memory, so that `docker logs` right after needs no loader VM. */

import type { LogEntry } from "../contract.ts";
import { LOG_TAIL_BYTES, LOG_TAIL_CONTAINERS, LOG_TAIL_TIMEOUT } from "../limits.ts";
import { within } from "../waiting.ts";
import type { Container } from "./container.ts";
import { isReadable } from "./log-options.ts";
import { readLogRecords } from "./log-records.ts";

/** Who has a tail, oldest first. */
const holders = new Set<Container>();

/** Reads the whole log if it is short enough and the guest is quick enough; otherwise nothing is kept. */
export async function captureLogTail(container: Container): Promise<void> {
  const session = container.session;
  if (!session || !isReadable(container.document)) return;
  const channel = session.open("logs", { tree: "container", tail: -1, follow: false, stdout: true, stderr: true });
  const read = async (): Promise<LogEntry[] | undefined> => {
    const entries: LogEntry[] = [];
    let bytes = 0;
    for await (const entry of readLogRecords(channel)) {
      bytes += entry.bytes.length;
      if (bytes > LOG_TAIL_BYTES) return undefined;
      entries.push(entry);
    }
    return entries;
  };
  // The log is on the container's disk in any case: a failure here costs only time later.
  const entries = await within(
    read().catch(() => undefined),
    LOG_TAIL_TIMEOUT,
    () => undefined,
  );
  channel.close();
  if (!entries) return;
  container.logTail = entries;
  holders.delete(container);
  holders.add(container);
  const [oldest] = holders;
  if (holders.size > LOG_TAIL_CONTAINERS && oldest) {
    oldest.logTail = undefined;
    holders.delete(oldest);
  }
}
