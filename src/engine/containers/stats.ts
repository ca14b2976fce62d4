/** `docker stats` and `docker top`, asked of the guest. */
import type { GuestStatistics } from "../../link/operations.ts";
import type { EngineContext } from "../context.ts";
import { conflict } from "../errors.ts";
import { ZERO_TIME } from "../time.ts";
import { within } from "../waiting.ts";
import type { Container } from "./container.ts";
import { publishContainer } from "./container-events.ts";

const INTERVAL = 1000;

export async function containerTop(
  context: EngineContext,
  container: Container,
  psArguments: string,
): Promise<{ Titles: string[]; Processes: string[][] }> {
  if (!container.isRunning) throw conflict(`container ${container.id} is not running`);
  const link = await container.link();
  const { titles, processes } = await link.call("top", { arguments: psArguments });
  publishContainer(context.events, container, "top");
  return { Titles: titles, Processes: processes };
}

/** A stopped container has one empty sample, as with dockerd. */
export async function* containerStats(
  container: Container,
  options: { stream: boolean; oneShot: boolean; signal: AbortSignal },
): AsyncGenerator<Record<string, unknown>> {
  let previous: GuestStatistics | undefined;
  for (let samples = 0; !options.signal.aborted; samples++) {
    if (samples > 0) await pause(options.signal);
    if (options.signal.aborted) return;
    const sample = container.isRunning ? await sampleOf(container) : undefined;
    // A single sample needs one before it, or the CPU percentage means nothing; one-shot asks not to wait for it.
    const isSingle = !options.stream;
    if (!(isSingle && !options.oneShot && samples === 0 && sample)) {
      yield document(container, sample, previous);
      if (isSingle) return;
    }
    previous = sample;
    if (container.status === "removing" || container.status === "dead") return;
  }
}

async function sampleOf(container: Container): Promise<GuestStatistics | undefined> {
  const link = await container.link();
  try {
    return await link.call("statistics", {});
  } catch (error) {
    // It ended while we asked.
    if (!container.isRunning) return undefined;
    throw error;
  }
}

async function pause(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  signal.addEventListener("abort", stop, { once: true });
  await within(promise, INTERVAL, () => undefined);
  signal.removeEventListener("abort", stop);
}

function document(
  container: Container,
  sample: GuestStatistics | undefined,
  previous: GuestStatistics | undefined,
): Record<string, unknown> {
  const { Memory, PidsLimit } = container.document.hostConfig;
  return {
    id: container.id,
    name: `/${container.name}`,
    os_type: "linux",
    read: sample?.readAt ?? ZERO_TIME,
    preread: previous?.readAt ?? ZERO_TIME,
    num_procs: 0,
    storage_stats: {},
    pids_stats: sample ? { current: sample.pids, limit: PidsLimit || undefined } : {},
    cpu_stats: cpu(sample),
    precpu_stats: cpu(previous),
    memory_stats: sample
      ? {
          usage: sample.memory.usageBytes,
          // Without a limit, all that the VM has.
          limit: Memory || sample.memory.limitBytes,
          stats: sample.memory.statistics,
        }
      : {},
    blkio_stats: blockIo(sample),
    ...(sample && Object.keys(sample.networks).length > 0 ? { networks: networks(sample) } : {}),
  };
}

function cpu(sample: GuestStatistics | undefined): Record<string, unknown> {
  const throttling = sample?.cpu.throttling;
  return {
    cpu_usage: {
      total_usage: sample?.cpu.totalNanoseconds ?? 0,
      usage_in_kernelmode: sample?.cpu.kernelNanoseconds ?? 0,
      usage_in_usermode: sample?.cpu.userNanoseconds ?? 0,
    },
    ...(sample ? { system_cpu_usage: sample.cpu.systemNanoseconds, online_cpus: sample.cpu.online } : {}),
    throttling_data: {
      periods: throttling?.periods ?? 0,
      throttled_periods: throttling?.throttledPeriods ?? 0,
      throttled_time: throttling?.throttledNanoseconds ?? 0,
    },
  };
}

function blockIo(sample: GuestStatistics | undefined): Record<string, unknown> {
  const entries = (value: "bytes" | "operations") =>
    sample?.block.map(({ major, minor, operation, ...counts }) => ({
      major,
      minor,
      op: operation,
      value: counts[value],
    })) ?? null;
  return {
    io_service_bytes_recursive: entries("bytes"),
    io_serviced_recursive: entries("operations"),
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  };
}

function networks(sample: GuestStatistics): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(sample.networks).map(([name, counters]) => [
      name,
      {
        rx_bytes: counters.rxBytes,
        rx_packets: counters.rxPackets,
        rx_errors: counters.rxErrors,
        rx_dropped: counters.rxDropped,
        tx_bytes: counters.txBytes,
        tx_packets: counters.txPackets,
        tx_errors: counters.txErrors,
        tx_dropped: counters.txDropped,
      },
    ]),
  );
}
