import { FormatError } from "../format-error.ts";

/**
 * Fields of a message, little endian, in the order of their table:
 * `u32`, `offset` (u64 up to 2^53 - 1), `cookie` (any 64 bits), `bytes` (u32 length, then the bytes).
 */
export type FieldKind = "u32" | "offset" | "cookie" | "bytes";
export type Fields = Readonly<Record<string, FieldKind>>;

interface FieldTypes {
  u32: number;
  offset: number;
  cookie: bigint;
  bytes: Uint8Array;
}
export type Values<F extends Fields> = { -readonly [K in keyof F]: FieldTypes[F[K]] };

export const shareError = (problem: string): FormatError => new FormatError("file share", problem);

const sizeOf = (fields: Fields, values: Record<string, unknown>): number => {
  let size = 0;
  for (const [name, kind] of Object.entries(fields)) {
    if (kind === "u32") size += 4;
    else if (kind === "bytes") size += 4 + (values[name] as Uint8Array).length;
    else size += 8;
  }
  return size;
};

/** Appends the fields to a header of `headerLength` bytes, which is left zero. */
export const encodeFields = <F extends Fields>(fields: F, values: Values<F>, headerLength: number): Buffer => {
  const given = values as Record<string, unknown>;
  const bytes = Buffer.alloc(headerLength + sizeOf(fields, given));
  let at = headerLength;
  for (const [name, kind] of Object.entries(fields)) {
    const value = given[name];
    switch (kind) {
      case "u32":
        at = bytes.writeUInt32LE(value as number, at);
        break;
      case "offset":
        at = bytes.writeBigUInt64LE(BigInt(value as number), at);
        break;
      case "cookie":
        at = bytes.writeBigUInt64LE(BigInt.asUintN(64, value as bigint), at);
        break;
      case "bytes": {
        const content = value as Uint8Array;
        at = bytes.writeUInt32LE(content.length, at);
        bytes.set(content, at);
        at += content.length;
      }
    }
  }
  return bytes;
};

/** The fields from `at` to the end of the message. `bytes` values are views. Throws FormatError. */
export const decodeFields = <F extends Fields>(fields: F, bytes: Buffer, at: number): Values<F> => {
  const values: Record<string, unknown> = {};
  const need = (length: number): void => {
    if (at + length > bytes.length) throw shareError("a message is too short");
  };
  for (const [name, kind] of Object.entries(fields)) {
    if (kind === "u32" || kind === "bytes") {
      need(4);
      const number = bytes.readUInt32LE(at);
      at += 4;
      if (kind === "u32") {
        values[name] = number;
        continue;
      }
      need(number);
      values[name] = bytes.subarray(at, at + number);
      at += number;
    } else {
      need(8);
      const number = bytes.readBigUInt64LE(at);
      at += 8;
      if (kind === "cookie") values[name] = number;
      else if (number > BigInt(Number.MAX_SAFE_INTEGER)) throw shareError(`offset ${number} is out of range`);
      else values[name] = Number(number);
    }
  }
  if (at !== bytes.length) throw shareError(`${bytes.length - at} bytes too many in a message`);
  return values as Values<F>;
};
