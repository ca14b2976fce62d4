import { RegistryError } from "../../registry/registry-error.ts";
import { EngineError } from "../errors.ts";

/** Errors of registries, as the engine tells them; others as they are. */
export function engineError(error: unknown): unknown {
  if (!(error instanceof RegistryError)) return error;
  const kinds = {
    "not-found": "not-found",
    unauthorized: "unauthorized",
    "rate-limited": "internal",
    invalid: "internal",
    unsupported: "not-implemented",
    unavailable: "internal",
  } as const;
  return new EngineError(kinds[error.code], error.message, { cause: error });
}
