/** QMP, the QEMU Machine Protocol: one JSON object per line. Pure. */
import type { QmpObject } from "../qemu/block-nodes.ts";

/** Longest line taken from QEMU, in bytes. query-blockstats of many deep disk chains has some hundred kilobytes. */
export const QMP_LINE_LIMIT = 8 * 1024 * 1024;

export type QmpMessage =
  | { kind: "greeting" }
  | { kind: "return"; id: number; value: unknown }
  | { kind: "error"; id: number | undefined; class: string; description: string }
  | { kind: "event"; name: string; data: QmpObject };

export class QmpProtocolError extends Error {
  override readonly name = "QmpProtocolError";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** One line. Throws QmpProtocolError. */
export function parseQmpMessage(line: string): QmpMessage {
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch {
    throw new QmpProtocolError(`QEMU sent a line that is not JSON: ${line.slice(0, 200)}`);
  }
  if (!isObject(message)) throw new QmpProtocolError("QEMU sent something that is not an object");
  const id = typeof message.id === "number" ? message.id : undefined;
  if ("QMP" in message) return { kind: "greeting" };
  if ("return" in message && id !== undefined) return { kind: "return", id, value: message.return };
  if (isObject(message.error)) {
    return { kind: "error", id, class: String(message.error.class), description: String(message.error.desc) };
  }
  if (typeof message.event === "string") {
    return { kind: "event", name: message.event, data: isObject(message.data) ? (message.data as QmpObject) : {} };
  }
  throw new QmpProtocolError(`QEMU sent an unknown message: ${line.slice(0, 200)}`);
}

/** Cuts the stream into lines. */
export class QmpLines {
  #parts: string[] = [];
  #length = 0;
  readonly #decoder = new TextDecoder();

  push(chunk: Uint8Array): string[] {
    const lines = this.#decoder.decode(chunk, { stream: true }).split("\n");
    const rest = lines.pop() ?? "";
    const complete = lines.map((line) => {
      const whole = this.#parts.join("") + line;
      this.#parts = [];
      this.#length = 0;
      return whole.trim();
    });
    this.#parts.push(rest);
    this.#length += rest.length;
    if (this.#length > QMP_LINE_LIMIT) throw new QmpProtocolError("QEMU sent a line that is too long");
    return complete.filter((line) => line !== "");
  }
}
