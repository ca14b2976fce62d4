import { FormatError } from "../format-error";

const strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const looseText = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** Text out of an archive: `raw` is there only when the bytes are not valid UTF-8. */
export interface ArchiveText {
  text: string;
  raw?: Uint8Array;
}

/** Decodes text of unknown encoding without losing its bytes. */
export function decodeText(bytes: Uint8Array): ArchiveText {
  try {
    return { text: strictText.decode(bytes) };
  } catch {
    return { text: looseText.decode(bytes), raw: bytes.slice() };
  }
}

/** The bytes of a field up to its first NUL. */
export function untilNul(field: Uint8Array): Uint8Array {
  const end = field.indexOf(0);
  return end < 0 ? field : field.subarray(0, end);
}

/**
 * A numeric header field: octal digits, or GNU's base-256 (top bit set, two's complement).
 * @throws FormatError when it is neither, or beyond what a JavaScript number holds exactly
 */
export function decodeNumber(field: Uint8Array, what: string): number {
  const first = field[0] ?? 0;
  if (first & 0x80) return decodeBase256(field, what);
  let value = 0;
  let digits = 0;
  for (const byte of field) {
    if (byte >= 0x30 && byte <= 0x37) {
      value = value * 8 + (byte - 0x30);
      digits++;
    } else if (byte === 0x20 && digits === 0) {
      // Old archives pad on the left with spaces.
    } else if (byte === 0x20 || byte === 0) {
      break;
    } else {
      throw new FormatError("tar", `the ${what} in a header is not a number`);
    }
  }
  return value;
}

function decodeBase256(field: Uint8Array, what: string): number {
  const first = field[0] ?? 0;
  const negative = (first & 0x40) !== 0;
  let value = BigInt(first & 0x7f);
  for (let index = 1; index < field.length; index++) value = (value << 8n) | BigInt(field[index] ?? 0);
  if (negative) value -= 1n << BigInt(field.length * 8 - 1);
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new FormatError("tar", `the ${what} in a header is out of range`);
  return number;
}

/** Writes octal digits and a NUL where the value fits, base-256 otherwise. Returns whether it fitted as octal. */
export function encodeNumber(field: Uint8Array, value: number): boolean {
  const digits = field.length - 1;
  if (value >= 0 && value < 8 ** digits) {
    encoder.encodeInto(value.toString(8).padStart(digits, "0"), field);
    return true;
  }
  let rest = BigInt(value);
  for (let index = field.length - 1; index >= 0; index--) {
    field[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  field[0] = (field[0] ?? 0) | 0x80;
  return false;
}

/** A non-negative decimal integer as pax and sparse maps write it. */
export function decodeDecimal(text: string, what: string): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new FormatError("tar", `the ${what} is not a valid number`);
  return value;
}

const NANOSECONDS = 1_000_000_000n;

/** Seconds with a decimal fraction, as pax writes times, to nanoseconds (finer digits are dropped). */
export function decodeTime(text: string): bigint {
  const match = /^(-?)([0-9]{1,18})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) throw new FormatError("tar", "a time in a pax header is not a number");
  const [, sign, seconds = "0", fraction = ""] = match;
  const nanoseconds = BigInt(seconds) * NANOSECONDS + BigInt(fraction.slice(0, 9).padEnd(9, "0"));
  return sign === "-" ? -nanoseconds : nanoseconds;
}

/** The inverse of `decodeTime`, without superfluous digits. */
export function encodeTime(nanoseconds: bigint): string {
  const negative = nanoseconds < 0n;
  const absolute = negative ? -nanoseconds : nanoseconds;
  const fraction = (absolute % NANOSECONDS).toString().padStart(9, "0").replace(/0+$/, "");
  return `${negative ? "-" : ""}${absolute / NANOSECONDS}${fraction === "" ? "" : `.${fraction}`}`;
}

/** Whole seconds of a time, rounded down; what remains is only in the pax record. */
export function wholeSeconds(nanoseconds: bigint): number {
  const seconds = nanoseconds / NANOSECONDS;
  return Number(nanoseconds % NANOSECONDS < 0n ? seconds - 1n : seconds);
}

/** Nanoseconds of a time given in whole seconds. */
export function fromSeconds(seconds: number): bigint {
  return BigInt(seconds) * NANOSECONDS;
}
