/** The engine's one error type. The Docker API maps `kind` to a status in one place (src/docker/errors.ts). */
export type EngineErrorKind =
  /** 404 */
  | "not-found"
  /** 409 */
  | "conflict"
  /** 400 */
  | "invalid"
  /** 304: already in the wanted state */
  | "not-modified"
  /** 401 */
  | "unauthorized"
  /** 403 */
  | "forbidden"
  /** 501: refused with a reason and an alternative */
  | "not-implemented"
  /** 503 */
  | "unavailable"
  /** 500 */
  | "internal";

export class EngineError extends Error {
  override readonly name = "EngineError";
  constructor(
    readonly kind: EngineErrorKind,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** A command inside a container failed where its success was needed (RUN of a build); clients end with the same code. */
export class CommandFailed extends EngineError {
  constructor(
    readonly exitCode: number,
    message: string,
  ) {
    super("internal", message);
  }
}

export const notFound = (message: string): EngineError => new EngineError("not-found", message);
export const conflict = (message: string): EngineError => new EngineError("conflict", message);
export const invalid = (message: string): EngineError => new EngineError("invalid", message);
export const notImplemented = (message: string): EngineError => new EngineError("not-implemented", message);
