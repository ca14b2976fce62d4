/** Writes DER, the encoding of X.509 and PKCS #7, as far as Authenticode needs it. */
export function der(tag: number, ...content: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(content);
  return Buffer.concat([Uint8Array.of(tag), length(body.length), body]);
}

function length(value: number): Uint8Array {
  if (value < 0x80) return Uint8Array.of(value);
  const bytes: number[] = [];
  for (let left = value; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return Uint8Array.of(0x80 | bytes.length, ...bytes);
}

export const derTag = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
  /** Context-specific, constructed. */
  context: (number: number): number => 0xa0 + number,
  /** Context-specific, primitive. */
  implicit: (number: number): number => 0x80 + number,
} as const;

export function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const digits = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift((left % 128) | 0x80);
    bytes.push(...digits);
  }
  return der(derTag.oid, Uint8Array.from(bytes));
}

/** The elements inside a constructed element, whole. @returns `undefined` when they are malformed */
export function derChildren(element: Uint8Array): Uint8Array[] | undefined {
  const outer = header(element, 0);
  if (outer === undefined || outer.end > element.length) return undefined;
  const children: Uint8Array[] = [];
  for (let at = outer.start; at < outer.end; ) {
    const inner = header(element, at);
    if (inner === undefined || inner.end > outer.end) return undefined;
    children.push(element.subarray(at, inner.end));
    at = inner.end;
  }
  return children;
}

function header(bytes: Uint8Array, at: number): { start: number; end: number } | undefined {
  const first = bytes[at + 1];
  if (first === undefined) return undefined;
  if (first < 0x80) return { start: at + 2, end: at + 2 + first };
  const count = first & 0x7f;
  if (count === 0 || count > 4) return undefined;
  let size = 0;
  for (let index = 0; index < count; index++) size = size * 256 + (bytes[at + 2 + index] ?? 0);
  return { start: at + 2 + count, end: at + 2 + count + size };
}
