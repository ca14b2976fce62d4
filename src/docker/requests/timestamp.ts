/** Times in API parameters: Unix seconds with a fraction, RFC 3339, or a Go duration before now. */

const NANOSECONDS = 1_000_000_000n;
const UNIX = /^(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?$/;
const RFC3339 = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?(Z|[+-]\d\d:\d\d)?$/;
const DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/;
const DURATION_PART = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g;
const UNIT_NANOSECONDS: Record<string, number> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const MAX_DURATION_LENGTH = 64;

/** Nanoseconds since the epoch, or undefined when the text is none of the three. */
export function parseTimestamp(text: string, nowMilliseconds: number): bigint | undefined {
  const unix = UNIX.exec(text);
  if (unix !== null) {
    const value = BigInt(unix[2] ?? "0") * NANOSECONDS + fraction(unix[3]);
    return unix[1] === "-" ? -value : value;
  }
  const calendar = RFC3339.exec(text);
  if (calendar !== null) {
    const [, date, minutes = "00:00", seconds = "00", digits, zone = "Z"] = calendar;
    const milliseconds = Date.parse(`${date}T${minutes}:${seconds}${zone}`);
    return Number.isNaN(milliseconds) ? undefined : BigInt(milliseconds) * 1_000_000n + fraction(digits);
  }
  if (text.length > MAX_DURATION_LENGTH || !DURATION.test(text)) return undefined;
  let before = 0n;
  for (const [, amount = "0", unit = "s"] of text.matchAll(DURATION_PART)) {
    before += BigInt(Math.round(Number(amount) * (UNIT_NANOSECONDS[unit] ?? 0)));
  }
  return BigInt(nowMilliseconds) * 1_000_000n - before;
}

/** Nanoseconds since the epoch as Docker prints them before log lines: RFC 3339 with nine digits, in UTC. */
export function formatLogTime(nanoseconds: bigint): string {
  const seconds = nanoseconds / NANOSECONDS;
  const rest = nanoseconds % NANOSECONDS;
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${rest.toString().padStart(9, "0")}Z`;
}

function fraction(digits: string | undefined): bigint {
  return digits === undefined ? 0n : BigInt(digits.padEnd(9, "0"));
}
