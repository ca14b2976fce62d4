/** What a registry says when it refuses, in dockerd's words. */
import { RegistryError } from "./registry-error.ts";
import { readBody } from "./transport.ts";

const ERROR_BODY_LIMIT = 64 * 1024;
const MESSAGE_LIMIT = 1000;

interface RegistryComplaint {
  code: string;
  message: string;
}

async function complaints(response: Response): Promise<RegistryComplaint[]> {
  try {
    const body: unknown = JSON.parse(new TextDecoder().decode(await readBody(response, ERROR_BODY_LIMIT, "error")));
    const errors = (body as { errors?: unknown } | null)?.errors;
    if (!Array.isArray(errors)) return [];
    return errors.slice(0, 5).map((entry: { code?: unknown; message?: unknown } | null) => ({
      code: typeof entry?.code === "string" ? entry.code : "UNKNOWN",
      message: typeof entry?.message === "string" ? entry.message.slice(0, MESSAGE_LIMIT) : "",
    }));
  } catch {
    return []; // No or other body: the status has to do.
  }
}

const DEFAULTS: Record<number, RegistryComplaint> = {
  401: { code: "UNAUTHORIZED", message: "authentication required" },
  403: { code: "DENIED", message: "requested access to the resource is denied" },
  429: { code: "TOOMANYREQUESTS", message: "too many requests" },
};

/**
 * The error for a refused request.
 * @param name the image as people write it; @param repository the same without tag
 */
export async function responseError(
  response: Response,
  what: "manifest" | "blob",
  name: string,
  repository: string,
): Promise<RegistryError> {
  const [first = DEFAULTS[response.status]] = await complaints(response);
  const missing = what === "manifest" ? "MANIFEST_UNKNOWN" : "BLOB_UNKNOWN";
  const fallback = { code: missing, message: `${what} unknown` };
  const complaint = first ?? (response.status === 404 ? fallback : undefined);
  if (complaint === undefined) {
    return new RegistryError(
      "unavailable",
      `received unexpected HTTP status: ${response.status} ${response.statusText}`.trim(),
    );
  }
  const text = `${complaint.code.toLowerCase().replaceAll("_", " ")}: ${complaint.message}`;
  switch (complaint.code) {
    case "MANIFEST_UNKNOWN":
      return new RegistryError("not-found", `manifest for ${name} not found: ${text}`);
    case "UNAUTHORIZED":
    case "DENIED":
    case "NAME_UNKNOWN":
      return new RegistryError(
        "not-found",
        `pull access denied for ${repository}, repository does not exist or may require 'docker login': ${text}`,
      );
    case "TOOMANYREQUESTS":
      return new RegistryError("rate-limited", text);
    default:
      return new RegistryError(response.status === 404 ? "not-found" : "unavailable", text);
  }
}
