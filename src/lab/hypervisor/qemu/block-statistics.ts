/** Reads QEMU's query-blockstats answer. Pure. */
export interface BlockCounters {
  readBytes: number;
  writeBytes: number;
  readOperations: number;
  writeOperations: number;
}

/** Counters by device id. */
export function parseBlockStatistics(answer: unknown): Map<string, BlockCounters> {
  const counters = new Map<string, BlockCounters>();
  for (const entry of Array.isArray(answer) ? answer : []) {
    const { qdev, stats } = entry as { qdev?: unknown; stats?: Record<string, unknown> };
    if (typeof qdev !== "string" || stats === undefined) continue;
    // QEMU names the device by its id, or by its path in the device tree, which ends in …/id/part.
    const id = qdev.startsWith("/")
      ? (qdev.split("/").findLast((part) => /^(disk|cdrom)-\d+$/.test(part)) ?? qdev)
      : qdev;
    counters.set(id, {
      readBytes: Number(stats.rd_bytes ?? 0),
      writeBytes: Number(stats.wr_bytes ?? 0),
      readOperations: Number(stats.rd_operations ?? 0),
      writeOperations: Number(stats.wr_operations ?? 0),
    });
  }
  return counters;
}
