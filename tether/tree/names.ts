import { LinkError } from "../../src/link/link-error.ts";

/** Longest path of an archive member, in bytes: what Linux takes in one call. */
const PATH_LIMIT = 4095;

/**
 * Names are bytes: Linux file names need not be text. They are kept as latin1 strings, one character per byte, which can
 * be compared, joined and put into sets; `nameBytes` turns them into what a system call takes.
 */
export const fromBytes = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
const ASCII = /^[\0-\x7f]*$/;
export const fromText = (text: string): string =>
  ASCII.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
export const nameBytes = (name: string): Buffer => Buffer.from(name, "latin1");
export const toText = (name: string): string => (ASCII.test(name) ? name : nameBytes(name).toString("utf8"));

const NEEDS_WORK = /\/\/|(?:^|\/)\.\.?(?:\/|$)|^\/|\/$/;

/** An archive member's path without `.`, empty and leading parts. `..` never leads above the root, as after chroot. */
export const normalize = (name: string): string => {
  if (name.length > PATH_LIMIT) throw new LinkError("invalid", "a path in the archive is longer than 4095 bytes");
  const start = name.startsWith("./") ? 2 : 0;
  const usual = name.slice(start, name.endsWith("/") && name.length > start ? -1 : undefined);
  if (!NEEDS_WORK.test(usual)) return usual;
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
};

export const parentOf = (path: string): string => {
  const slash = path.lastIndexOf("/");
  return slash === -1 ? "" : path.slice(0, slash);
};
export const baseOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
