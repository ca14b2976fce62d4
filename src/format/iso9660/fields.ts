/** Number fields of ISO 9660, which stores most numbers in both byte orders (ECMA-119 §7). */
export function bothEndian32(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, value, true);
  view.setUint32(4, value, false);
  return bytes;
}

export function bothEndian16(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, value, true);
  view.setUint16(2, value, false);
  return bytes;
}

/** Seven-byte time of directory records and Rock Ridge: years since 1900, UTC. */
export function shortTime(seconds: number): Uint8Array {
  const time = new Date(seconds * 1000);
  return Uint8Array.of(
    time.getUTCFullYear() - 1900,
    time.getUTCMonth() + 1,
    time.getUTCDate(),
    time.getUTCHours(),
    time.getUTCMinutes(),
    time.getUTCSeconds(),
    0,
  );
}

/** Seventeen-byte time of volume descriptors: sixteen digits and the zone, UTC. */
export function longTime(seconds: number): Uint8Array {
  const digits = new Date(seconds * 1000)
    .toISOString()
    .replace(/[^0-9]/g, "")
    .slice(0, 16)
    .padEnd(16, "0");
  return Buffer.concat([Buffer.from(digits), Uint8Array.of(0)]);
}

/** Text padded with spaces to the length of its field. */
export function paddedText(text: string, length: number): Uint8Array {
  return Buffer.from(text.padEnd(length, " ").slice(0, length), "latin1");
}
