/** As much of the DNS message format (RFC 1035) as a forwarder needs: the question, short answers and failures. */

export const RECORD_TYPE = { A: 1, AAAA: 28, ANY: 255 } as const;
export const RESPONSE_CODE = { noError: 0, formatError: 1, serverFailure: 2, notImplemented: 4 } as const;

const HEADER_BYTES = 12;
const CLASS_INTERNET = 1;
const FLAG_RESPONSE = 0x8000;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION_AVAILABLE = 0x0080;
const OPCODE_MASK = 0x7800;
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

/** Most answers a response carries: 16 bytes each, so it always fits in the 512 bytes of plain UDP. */
const MAXIMUM_ANSWERS = 12;

/** A response with the IPv4 addresses of a name; other record types of the name exist not. */
export function addressResponse(
  query: Uint8Array,
  question: Question,
  addresses: readonly string[],
  ttlSeconds: number,
): Uint8Array {
  const wanted =
    question.class === CLASS_INTERNET && (question.type === RECORD_TYPE.A || question.type === RECORD_TYPE.ANY);
  const head = emptyResponse(query, RESPONSE_CODE.noError, question);
  if (!wanted) return head;
  const records = addresses.slice(0, MAXIMUM_ANSWERS).map((address) => {
    const record = new Uint8Array(16);
    const fields = view(record);
    fields.setUint16(0, 0xc000 | HEADER_BYTES); // pointer to the question's name
    fields.setUint16(2, RECORD_TYPE.A);
    fields.setUint16(4, CLASS_INTERNET);
    fields.setUint32(6, ttlSeconds);
    fields.setUint16(10, 4);
    record.set(address.split(".").map(Number), 12);
    return record;
  });
  const response = new Uint8Array(head.length + records.length * 16);
  response.set(head);
  records.forEach((record, index) => {
    response.set(record, head.length + index * 16);
  });
  view(response).setUint16(6, records.length);
  return response;
}
