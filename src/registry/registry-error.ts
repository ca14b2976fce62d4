export type RegistryErrorCode =
  /** No such repository, tag or blob; or not visible to this user. */
  | "not-found"
  /** Wrong or missing credentials. */
  | "unauthorized"
  | "rate-limited"
  /** The reference, or what the registry sent, is not acceptable. */
  | "invalid"
  | "unsupported"
  /** The registry cannot be reached or does not answer properly. */
  | "unavailable";

/** Messages are dockerd's where dockerd has one. */
export class RegistryError extends Error {
  override readonly name = "RegistryError";
  constructor(
    readonly code: RegistryErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
