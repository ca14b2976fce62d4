/** Docker's times: RFC 3339 with nanoseconds, and nanoseconds since the epoch. */

/** What Docker shows for "never". */
export const ZERO_TIME = "0001-01-01T00:00:00Z";

const RFC3339 = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;

/** Strictly growing within this process, so that two events never carry the same time. */
let last = 0n;
export function nowNanoseconds(): bigint {
  const fraction = BigInt(Math.floor((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
  last = fraction > last ? fraction : last + 1n;
  return last;
}

export function formatTime(nanoseconds: bigint): string {
  const seconds = nanoseconds / 1_000_000_000n;
  const fraction = (nanoseconds % 1_000_000_000n).toString().padStart(9, "0");
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

/** Nanoseconds since the epoch, or undefined when the text is no RFC 3339 time or is Docker's zero time. */
export function parseTime(text: string | undefined): bigint | undefined {
  const match = text === undefined || text === ZERO_TIME ? null : RFC3339.exec(text);
  if (!match) return undefined;
  const milliseconds = Date.parse(`${match[1]}${match[3]}`);
  if (Number.isNaN(milliseconds)) return undefined;
  return BigInt(milliseconds) * 1_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
}

/** A duration in the words of `docker ps`: "Less than a second", "About a minute", "3 hours". */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}

const DURATION_PART = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/y;
const DURATION_FACTOR: Record<string, number> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Go's duration notation ("1h30m") in nanoseconds, or undefined. */
export function parseGoDuration(text: string): bigint | undefined {
  if (text === "") return undefined;
  let total = 0;
  DURATION_PART.lastIndex = 0;
  while (DURATION_PART.lastIndex < text.length) {
    const match = DURATION_PART.exec(text);
    if (!match) return undefined;
    total += Number(match[1]) * (DURATION_FACTOR[match[2] ?? ""] ?? Number.NaN);
  }
  return Number.isFinite(total) ? BigInt(Math.round(total)) : undefined;
}

/** A filter time of the Docker API: Unix seconds with fraction, RFC 3339 (parts may be missing), or a Go duration back from now. */
export function parseFilterTime(text: string): bigint | undefined {
  const seconds = /^(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (seconds) return BigInt(seconds[1] ?? "0") * 1_000_000_000n + BigInt((seconds[2] ?? "").padEnd(9, "0"));
  const duration = parseGoDuration(text);
  if (duration !== undefined) return nowNanoseconds() - duration;
  const exact = parseTime(text);
  if (exact !== undefined) return exact;
  const loose = Date.parse(
    /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?)?$/.test(text) && text.includes("T") ? `${text}Z` : text,
  );
  return Number.isNaN(loose) ? undefined : BigInt(loose) * 1_000_000n;
}
