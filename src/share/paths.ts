import { NAME_LIMIT, PATH_LIMIT } from "../format/file-share/messages.ts";
import { ERRNO, ShareFailure } from "./system-calls.ts";

const SLASH = 0x2f;
const DOT = 0x2e;

/**
 * A path of a request: components separated by single slashes, none of them empty, `.` or `..`. The kernel's own rules
 * (openat2) keep a path below the share in any case; a client that sends another one is wrong or hostile.
 */
export const checkPath = (path: Uint8Array): void => {
  if (path.length > PATH_LIMIT) throw new ShareFailure(ERRNO.ENAMETOOLONG);
  if (path.length === 0) return;
  for (let begin = 0; begin <= path.length; ) {
    const slash = path.indexOf(SLASH, begin);
    const end = slash < 0 ? path.length : slash;
    checkName(path.subarray(begin, end));
    begin = end + 1;
  }
};

const checkName = (name: Uint8Array): void => {
  if (name.length > NAME_LIMIT) throw new ShareFailure(ERRNO.ENAMETOOLONG);
  const dots = name.length <= 2 && name.every((byte) => byte === DOT);
  if (name.length === 0 || dots || name.includes(0)) throw new ShareFailure(ERRNO.EINVAL);
};

/** Directory and name of a path that is not the share itself. */
export const splitPath = (path: Uint8Array): { parent: Uint8Array; name: Uint8Array } => {
  const slash = path.lastIndexOf(SLASH);
  return { parent: path.subarray(0, Math.max(0, slash)), name: path.subarray(slash + 1) };
};
