/**
 * The first line in each direction, inside of TLS: the tether proves with its token which VM it is, the endpoint
 * accepts or says why not. Frames follow.
 */

/** Version of hello and frames together. */
export const LINK_VERSION = 1;
/** Longest hello or answer line in bytes, line feed included. */
export const HELLO_LIMIT = 512;
const TOKEN = /^[0-9a-f]{64}$/;
const SESSION_ID = /^[0-9a-f]{32}$/;

/** The session that a connection is to carry, and how many of its counted frames the sender has received. */
export interface ResumePoint {
  session: string;
  received: number;
}

/** `resume`: the session to go on with; without one a new session is asked for, which can be resumed later. */
export const encodeHello = (token: string, resume?: ResumePoint): Uint8Array =>
  line({ vch: LINK_VERSION, token, resume: resume ?? {} });

/** Accepts; `resume` for those who can go on over another connection: the session asked for, or a new one. */
export const encodeWelcome = (resume: ResumePoint | undefined): Uint8Array =>
  line(resume === undefined ? { vch: LINK_VERSION } : { vch: LINK_VERSION, resume });

export const encodeRefusal = (error: string): Uint8Array => line({ vch: LINK_VERSION, error: error.slice(0, 200) });

const line = (value: object): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value)}\n`);

/** Collects the bytes of one line. */
export class HelloReader {
  #bytes = new Uint8Array(0);

  /** The parsed line with the bytes that follow it; undefined while it is incomplete. Throws on anything else. */
  push(bytes: Uint8Array): { hello: Record<string, unknown>; rest: Uint8Array } | undefined {
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    const end = joined.indexOf(10);
    if (end === -1 ? joined.length >= HELLO_LIMIT : end >= HELLO_LIMIT) throw new Error("hello is too long");
    this.#bytes = joined;
    if (end === -1) return undefined;
    let hello: unknown;
    try {
      hello = JSON.parse(new TextDecoder().decode(joined.subarray(0, end)));
    } catch {
      throw new Error("hello is not JSON");
    }
    if (typeof hello !== "object" || hello === null) throw new Error("hello is not a JSON object");
    return { hello: hello as Record<string, unknown>, rest: joined.slice(end + 1) };
  }
}

/** The token of a tether's hello. Throws with a reason for the peer. */
export const helloToken = (hello: Record<string, unknown>): string => {
  if (hello.vch !== LINK_VERSION) throw new Error(`unsupported link version ${String(hello.vch).slice(0, 20)}`);
  if (typeof hello.token !== "string" || !TOKEN.test(hello.token)) throw new Error("malformed token");
  return hello.token;
};

/** Whether the sender of a hello or its answer can resume sessions. */
export const canResume = (hello: Record<string, unknown>): boolean =>
  typeof hello.resume === "object" && hello.resume !== null;

/** The session that a hello or its answer names; undefined when it names none. */
export const resumePoint = ({ resume }: Record<string, unknown>): ResumePoint | undefined => {
  if (typeof resume !== "object" || resume === null) return undefined;
  const { session, received } = resume as Record<string, unknown>;
  if (typeof session !== "string" || !SESSION_ID.test(session)) return undefined;
  return typeof received === "number" && Number.isSafeInteger(received) && received >= 0
    ? { session, received }
    : undefined;
};
