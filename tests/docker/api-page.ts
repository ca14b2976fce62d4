/**
 * Makes docs/docker-api.md: every operation of Docker's API document with what this endpoint really answers, and the tables of
 * fields that the engine itself works by.
 *
 *     bun tests/docker/api-page.ts
 */
import { join } from "node:path";
import { apiDocument } from "../../src/docker/openapi/document.ts";
import { BUILD_FIELDS } from "../../src/engine/build/fields.ts";
import { CONTAINER_FIELDS, type FieldRule } from "../../src/engine/containers/fields.ts";
import { ENDPOINT_FIELDS, NETWORK_FIELDS } from "../../src/engine/networks/network-fields.ts";
import { startServer } from "./server-fixture.ts";

export const PAGE = join(import.meta.dir, "../../docs/docker-api.md");
/** An answer that begins later is a stream that waits for something to happen: the operation is there. */
const ANSWER_LIMIT_MILLISECONDS = 2_000;
const METHODS = new Set(["get", "head", "post", "put", "delete"]);

export interface Operation {
  name: string;
  method: string;
  path: string;
  /** Undefined for one that works; else why it does not, in the endpoint's own words. */
  refusal: string | undefined;
  /** The endpoint knows no such path. */
  missing: boolean;
}

/** Asks a real API server, before an engine in memory, for every operation of the document. */
export async function operations(): Promise<Operation[]> {
  const { paths } = await apiDocument();
  const server = await startServer({ validated: false });
  const found: Operation[] = [];
  try {
    const { socket } = server;
    for (const [path, methods] of Object.entries(paths))
      for (const [lower, { operationId: name }] of Object.entries(methods)) {
        if (!METHODS.has(lower)) continue;
        const method = lower.toUpperCase();
        found.push({ name, method, path, ...(await answer(socket, method, path)) });
      }
  } finally {
    await server.close();
  }
  return found;
}

async function answer(unix: string, method: string, path: string): Promise<Pick<Operation, "refusal" | "missing">> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), ANSWER_LIMIT_MILLISECONDS);
  try {
    const response = await fetch(`http://docker${path.replaceAll(/\{\w+\}/g, "absent")}`, {
      unix,
      method,
      signal: abort.signal,
      ...(method === "POST" || method === "PUT" ? { body: "{}", headers: { "content-type": "application/json" } } : {}),
    });
    if (response.ok) return { refusal: undefined, missing: false };
    const text = await response.text();
    const message = text.startsWith("{") ? String((JSON.parse(text) as { message?: unknown }).message) : text;
    if (message === "page not found") return { refusal: undefined, missing: true };
    const isRefusal = response.status === 501 || response.status === 503 || message.startsWith('plugin "absent"');
    return { refusal: isRefusal ? message : undefined, missing: false };
  } catch (error) {
    if (abort.signal.aborted) return { refusal: undefined, missing: false };
    throw error;
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ").replaceAll("<", "&lt;");
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
const fieldTable = (fields: readonly FieldRule[]): string =>
  table(
    ["field", "", "what becomes of it"],
    fields.map(({ field, treatment, note }) => [`\`${field}\``, treatment, cell(note)]),
  );

/** The whole page. */
export async function apiPage(): Promise<string> {
  const all = await operations();
  const { version } = (await apiDocument()).info;
  const refused = all.filter(({ refusal }) => refusal !== undefined).length;
  return `# The Docker API, operation by operation

Made by \`bun tests/docker/api-page.ts\` from what the endpoint answers and from the tables that the engine works by; a test
compares. Nothing is accepted and ignored: what is not done is refused, with the reason.

## Operations

API version ${version}: ${all.length} operations, of which ${all.length - refused} work and ${refused} are refused.

${table(
  ["operation", "request", "answer"],
  all.map(({ name, method, path, refusal }) => [
    name,
    `\`${method} ${path}\``,
    refusal === undefined ? "works" : `refused: ${cell(refusal)}`,
  ]),
)}

## Fields of a container

${fieldTable(CONTAINER_FIELDS)}

## Fields of a network

${fieldTable(NETWORK_FIELDS)}

## Fields of a container's place on a network

${fieldTable(ENDPOINT_FIELDS)}

## Parameters of a build

${fieldTable(BUILD_FIELDS)}
`;
}

if (import.meta.main) await Bun.write(PAGE, await apiPage());
