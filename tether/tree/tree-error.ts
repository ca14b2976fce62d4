import { FormatError } from "../../src/format/format-error.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { LinkErrorCode } from "../../src/link/operations.ts";
import { ERRNO, errnoText, SystemError } from "../system/libc.ts";

const EDQUOT = 122;
const ENAMETOOLONG = 36;
const EFBIG = 27;

const CODES: Record<number, LinkErrorCode> = {
  [ERRNO.ENOENT]: "not-found",
  [ERRNO.ENOTDIR]: "not-a-directory",
  [ERRNO.EPERM]: "permission",
  [ERRNO.EACCES]: "permission",
  [ERRNO.EROFS]: "read-only",
  [ERRNO.ENOSPC]: "no-space",
  [EDQUOT]: "no-space",
  [ERRNO.EBUSY]: "busy",
  [ERRNO.ELOOP]: "invalid",
  [ERRNO.EINVAL]: "invalid",
  [ENAMETOOLONG]: "invalid",
  [EFBIG]: "invalid",
};

/** errno of a failure of a system call, made by us or by the runtime; undefined for anything else. */
export const errnoOf = (error: unknown): number | undefined => {
  if (error instanceof SystemError) return error.errno;
  if (error instanceof Error && "errno" in error && typeof error.errno === "number") return Math.abs(error.errno);
  return undefined;
};

/** What the engine is told about a failure while working on `subject` (a path as the user or the archive names it). */
export const asLinkError = (error: unknown, subject: string): LinkError => {
  if (error instanceof LinkError) return error;
  if (error instanceof FormatError) return new LinkError("invalid", error.message, { cause: error });
  const errno = errnoOf(error);
  if (errno === undefined) return new LinkError("internal", `${subject}: ${String(error)}`, { cause: error });
  if (errno === ERRNO.EROFS)
    return new LinkError("read-only", "container rootfs is marked read-only", { cause: error });
  return new LinkError(CODES[errno] ?? "internal", `${subject}: ${errnoText(errno)}`, { cause: error });
};
