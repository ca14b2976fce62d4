/** As much of the DNS message format (RFC 1035) as a forwarder needs: the question, short answers, failures, and how long an answer holds. */
import { ipBytes, parseIp } from "./ip-address.ts";

export const RECORD_TYPE = { A: 1, PTR: 12, AAAA: 28, OPT: 41, ANY: 255 } as const;
export const RESPONSE_CODE = { noError: 0, formatError: 1, serverFailure: 2, notImplemented: 4 } as const;

const HEADER_BYTES = 12;
const CLASS_INTERNET = 1;
const FLAG_RESPONSE = 0x8000;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION_AVAILABLE = 0x0080;
const FLAG_TRUNCATED = 0x0200;
const OPCODE_MASK = 0x7800;
const RESPONSE_CODE_MASK = 0x000f;
const MAXIMUM_NAME = 255;

export interface Question {
  id: number;
  /** Lower case, without the trailing dot. */
  name: string;
  type: number;
  class: number;
  /** Where the question section ends. */
  end: number;
}

/** The one question of a query, or undefined for anything that is not a plain query with one question. */
export function parseQuery(message: Uint8Array): Question | undefined {
  return flags(message) !== undefined && ((flags(message) ?? 0) & (FLAG_RESPONSE | OPCODE_MASK)) === 0
    ? parseQuestion(message)
    : undefined;
}

/** True when `message` is an answer to `query` (same id and question): anything else may be forged. */
export function answers(message: Uint8Array, id: number, query: Question): boolean {
  const question = parseQuestion(message);
  return (
    question !== undefined &&
    ((flags(message) ?? 0) & FLAG_RESPONSE) !== 0 &&
    question.id === id &&
    question.name === query.name &&
    question.type === query.type &&
    question.class === query.class
  );
}

function flags(message: Uint8Array): number | undefined {
  return message.length < HEADER_BYTES ? undefined : view(message).getUint16(2);
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function parseQuestion(message: Uint8Array): Question | undefined {
  if (message.length < HEADER_BYTES || view(message).getUint16(4) !== 1) return undefined;
  const labels: string[] = [];
  let offset = HEADER_BYTES;
  for (;;) {
    const length = message[offset];
    if (length === undefined || length > 63 || offset - HEADER_BYTES > MAXIMUM_NAME) return undefined;
    offset += 1;
    if (length === 0) break;
    if (offset + length > message.length) return undefined;
    labels.push(String.fromCharCode(...message.subarray(offset, offset + length)).toLowerCase());
    offset += length;
  }
  if (offset + 4 > message.length) return undefined;
  return {
    id: view(message).getUint16(0),
    name: labels.join("."),
    type: view(message).getUint16(offset),
    class: view(message).getUint16(offset + 2),
    end: offset + 4,
  };
}

/** The message with another id. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = message.slice();
  view(copy).setUint16(0, id);
  return copy;
}

/** A response without records, for a query whose header at least could be read. */
export function emptyResponse(query: Uint8Array, code: number, question?: Question): Uint8Array {
  const end = question?.end ?? HEADER_BYTES;
  const response = new Uint8Array(end);
  response.set(query.subarray(0, end));
  const header = view(response);
  const recursion = header.getUint16(2) & FLAG_RECURSION_DESIRED;
  header.setUint16(2, FLAG_RESPONSE | recursion | FLAG_RECURSION_AVAILABLE | code);
  header.setUint16(4, question === undefined ? 0 : 1);
  for (const count of [6, 8, 10]) header.setUint16(count, 0);
  return response;
}

/** Most answers a response carries: 28 bytes each at most, so it nearly always fits in the 512 bytes of plain UDP. */
const MAXIMUM_ANSWERS = 12;

/** A response with the addresses of a name that are of the wanted kind; other record types of the name exist not. */
export function addressResponse(
  query: Uint8Array,
  question: Question,
  addresses: readonly string[],
  ttlSeconds: number,
): Uint8Array {
  const records = addresses.flatMap((address): AnswerRecord[] => {
    const parsed = parseIp(address);
    const type = parsed?.family === 6 ? RECORD_TYPE.AAAA : RECORD_TYPE.A;
    if (parsed === undefined || (question.type !== type && question.type !== RECORD_TYPE.ANY)) return [];
    return [{ type, data: ipBytes(parsed) }];
  });
  return response(query, question, records, ttlSeconds);
}

/** The answer to a reverse look-up. */
export function pointerResponse(
  query: Uint8Array,
  question: Question,
  names: readonly string[],
  ttl: number,
): Uint8Array {
  const records = names.map((name): AnswerRecord => ({ type: RECORD_TYPE.PTR, data: encodeName(name) }));
  return response(query, question, records, ttl);
}

interface AnswerRecord {
  type: number;
  data: Uint8Array;
}

function response(query: Uint8Array, question: Question, all: readonly AnswerRecord[], ttl: number): Uint8Array {
  const head = emptyResponse(query, RESPONSE_CODE.noError, question);
  const records = question.class === CLASS_INTERNET ? all.slice(0, MAXIMUM_ANSWERS) : [];
  const parts = records.map(({ type, data }) => {
    const record = new Uint8Array(12 + data.length);
    const fields = view(record);
    fields.setUint16(0, 0xc000 | HEADER_BYTES); // pointer to the question's name
    fields.setUint16(2, type);
    fields.setUint16(4, CLASS_INTERNET);
    fields.setUint32(6, ttl);
    fields.setUint16(10, data.length);
    record.set(data, 12);
    return record;
  });
  const whole = new Uint8Array(head.length + parts.reduce((sum, part) => sum + part.length, 0));
  whole.set(head);
  let offset = head.length;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  view(whole).setUint16(6, records.length);
  return whole;
}

/** A name as labels; a label that is too long for DNS makes the name empty. */
function encodeName(name: string): Uint8Array {
  const labels = name.split(".").map((label) => new TextEncoder().encode(label));
  if (labels.some(({ length }) => length === 0 || length > 63)) return new Uint8Array(1);
  return Uint8Array.from([...labels.flatMap((label) => [label.length, ...label]), 0]);
}

/**
 * Seconds that a response may be kept: the shortest life of its records. 0 for failures, for truncated and empty responses,
 * and for anything that cannot be read.
 */
export function responseLifetime(message: Uint8Array): number {
  const bits = flags(message) ?? 0;
  const question = parseQuestion(message);
  const isWhole = (bits & FLAG_RESPONSE) !== 0 && (bits & (FLAG_TRUNCATED | RESPONSE_CODE_MASK)) === 0;
  if (!isWhole || question === undefined) return 0;
  const fields = view(message);
  const answers = fields.getUint16(6);
  let offset = question.end;
  let lifetime = Number.POSITIVE_INFINITY;
  for (let index = 0; index < answers; index++) {
    const start = skipName(message, offset);
    if (start === undefined || start + 10 > message.length) return 0;
    if (fields.getUint16(start) !== RECORD_TYPE.OPT) lifetime = Math.min(lifetime, fields.getUint32(start + 4));
    offset = start + 10 + fields.getUint16(start + 8);
  }
  return Number.isFinite(lifetime) ? lifetime : 0;
}

/** Where a possibly compressed name ends. */
function skipName(message: Uint8Array, from: number): number | undefined {
  let offset = from;
  for (let labels = 0; labels <= MAXIMUM_NAME; labels++) {
    const length = message[offset];
    if (length === undefined) return undefined;
    if ((length & 0xc0) === 0xc0) return offset + 2;
    offset += 1 + length;
    if (length === 0) return offset;
  }
  return undefined;
}
