import type { SyslogConfiguration } from "../../src/link/guest-configuration.ts";
import type { LogRecord } from "./log-record.ts";

/** Severities of RFC 5424, section 6.2.1, as Docker gives them to stderr and stdout. */
const ERROR = 3;
const INFORMATIONAL = 6;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** The tether is what speaks, and it is the VM's first process. */
const PROCESS_ID = 1;
const NEWLINE = 10;

const two = (value: number): string => String(value).padStart(2, "0");

/** `Oct  9 22:33:20`, of RFC 3164, section 4.1.2; in UTC, which is the guest's time. */
const shortTime = (time: Date): string =>
  `${MONTHS[time.getUTCMonth()]} ${String(time.getUTCDate()).padStart(2)} ${two(time.getUTCHours())}:${two(time.getUTCMinutes())}:${two(time.getUTCSeconds())}`;

/** RFC 3339 in seconds, or in microseconds. */
const longTime = (nanoseconds: bigint, micro: boolean): string => {
  const seconds = new Date(Number(nanoseconds / 1_000_000n)).toISOString().slice(0, 19);
  if (!micro) return `${seconds}Z`;
  return `${seconds}.${String((nanoseconds / 1000n) % 1_000_000n).padStart(6, "0")}Z`;
};

/** One log entry as a message, with the newline that ends it. */
export const syslogMessage = (configuration: SyslogConfiguration, record: LogRecord): Uint8Array => {
  const { format, facility, hostname, tag } = configuration;
  const priority = facility * 8 + (record.stream === 2 ? ERROR : INFORMATIONAL);
  const time = new Date(Number(record.nanoseconds / 1_000_000n));
  let head: string;
  if (format === "unix") head = `<${priority}>${shortTime(time)} ${tag}[${PROCESS_ID}]: `;
  else if (format === "rfc3164") head = `<${priority}>${shortTime(time)} ${hostname} ${tag}[${PROCESS_ID}]: `;
  else {
    const stamp = longTime(record.nanoseconds, format === "rfc5424micro");
    // Docker: the tag is both the application's name and the message's id.
    head = `<${priority}>1 ${stamp} ${hostname} ${tag} ${PROCESS_ID} ${tag} - `;
  }
  const { bytes } = record;
  const text = bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
  return Buffer.concat([Buffer.from(head), text, Buffer.of(NEWLINE)]);
};
