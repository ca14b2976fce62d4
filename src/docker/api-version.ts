import { invalid } from "../engine/errors.ts";

/** A Docker API version as a comparable minor number: 1.44 is 44. The major number has always been 1. */
export type ApiVersion = number;

/** Oldest version served: what Docker 28 and 29 servers accept at most too. */
export const MINIMUM_API_VERSION: ApiVersion = 24;
/** Newest version served: that of the API document (src/docker/openapi). */
export const MAXIMUM_API_VERSION: ApiVersion = 56;

export const versionText = (version: ApiVersion): string => `1.${version}`;

/** Reads the `1.44` of a `/v1.44/…` path. Throws with Docker's texts when it is outside the range. */
export function parseApiVersion(text: string): ApiVersion {
  const [major, minor] = text.split(".").map(Number);
  const version = (major ?? 0) > 1 ? Number.POSITIVE_INFINITY : (major ?? 0) < 1 ? -1 : (minor ?? 0);
  if (version < MINIMUM_API_VERSION) {
    throw invalid(
      `client version ${text} is too old. Minimum supported API version is ${versionText(MINIMUM_API_VERSION)}, please upgrade your client to a newer version`,
    );
  }
  if (version > MAXIMUM_API_VERSION) {
    throw invalid(
      `client version ${text} is too new. Maximum supported API version is ${versionText(MAXIMUM_API_VERSION)}`,
    );
  }
  return version;
}
