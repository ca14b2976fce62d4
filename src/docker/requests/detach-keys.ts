/** The key sequence with which a client on a terminal leaves a container without ending it (`ctrl-p,ctrl-q`). */
import { invalid } from "../../engine/errors.ts";

const DEFAULT_KEYS = Uint8Array.of(16, 17);
const CONTROL_KEYS = "@abcdefghijklmnopqrstuvwxyz[\\]^_";
const MAX_KEYS = 64;

/** Parses `ctrl-a`, `ctrl-@`, `x`, comma-separated. Throws `invalid` with Docker's text. */
export function parseDetachKeys(text: string | undefined): Uint8Array {
  if (text === undefined) return DEFAULT_KEYS;
  const keys = text.split(",").map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const control = /^ctrl-(.)$/.exec(key)?.[1];
    return control === undefined ? -1 : CONTROL_KEYS.indexOf(control);
  });
  if (keys.length > MAX_KEYS || keys.some((key) => key < 0 || key > 127)) {
    throw invalid(`Invalid detach keys (${text}) provided`);
  }
  return Uint8Array.from(keys);
}

/** Finds the sequence in a stream of input, across chunk borders. */
export class DetachScanner {
  #matched = 0;

  constructor(readonly keys: Uint8Array) {}

  /** What to hand on of this chunk; `detached` when the sequence is complete, which itself is never handed on. */
  scan(chunk: Uint8Array): { pass: Uint8Array; detached: boolean } {
    const pass: number[] = [];
    for (const byte of chunk) {
      if (byte === this.keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.keys.length) return { pass: Uint8Array.from(pass), detached: true };
        continue;
      }
      // What looked like the sequence was typed text: hand it on, then see whether this byte begins it anew.
      for (const held of this.keys.subarray(0, this.#matched)) pass.push(held);
      this.#matched = byte === this.keys[0] ? 1 : 0;
      if (this.#matched === 0) pass.push(byte);
      else if (this.keys.length === 1) return { pass: Uint8Array.from(pass), detached: true };
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}
