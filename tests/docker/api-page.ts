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
import { MINIMUM_API_VERSION } from "../../src/docker/api-version.ts";
import { ABSENT_FAMILIES, OPERATION_TESTS, SINCE } from "./operation-tests.ts";
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
  /** What it says is what a Docker engine says that is in no swarm and has no plugins. */
  absentFamily: boolean;
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

type Answer = Pick<Operation, "refusal" | "missing" | "absentFamily">;
const WORKS: Answer = { refusal: undefined, missing: false, absentFamily: false };
/** Docker's own words for what is not there. */
const ABSENT = [
  /^This node is not a swarm manager\./,
  /^This node is not part of a swarm$/,
  /^plugin "absent" not found$/,
];

async function answer(unix: string, method: string, path: string): Promise<Answer> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), ANSWER_LIMIT_MILLISECONDS);
  try {
    const response = await fetch(`http://docker${path.replaceAll(/\{\w+\}/g, "absent")}`, {
      unix,
      method,
      signal: abort.signal,
      ...(method === "POST" || method === "PUT" ? { body: "{}", headers: { "content-type": "application/json" } } : {}),
    });
    if (response.ok) return WORKS;
    const text = await response.text();
    const message = text.startsWith("{") ? String((JSON.parse(text) as { message?: unknown }).message) : text;
    if (message === "page not found") return { ...WORKS, missing: true };
    const absentFamily = ABSENT.some((words) => words.test(message));
    const isRefusal = absentFamily || response.status === 501 || response.status === 503;
    return { refusal: isRefusal ? message : undefined, missing: false, absentFamily };
  } catch (error) {
    if (abort.signal.aborted) return WORKS;
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

function described({ refusal, absentFamily }: Operation): string {
  if (refusal === undefined) return "works";
  if (!absentFamily) return `refused: ${cell(refusal)}`;
  return refusal.startsWith("plugin") ? "as Docker without plugins: not found" : "as Docker without swarm: 503";
}

/** What shows that an operation works, or what it answers instead. */
export const testsOf = ({ name, refusal }: Operation): readonly string[] =>
  refusal === undefined ? (OPERATION_TESTS[name] ?? []) : ABSENT_FAMILIES;

/** The whole page. */
export async function apiPage(): Promise<string> {
  const all = await operations();
  const { version } = (await apiDocument()).info;
  const works = all.filter(({ refusal }) => refusal === undefined).length;
  const absent = all.filter(({ absentFamily }) => absentFamily).length;
  return `# The Docker API, operation by operation

Made by \`bun tests/docker/api-page.ts\` from what the endpoint answers and from the tables that the engine works by; a test
compares. Nothing is accepted and ignored: what is not done is refused, with the reason.

## Operations

API version ${version} has ${all.length} operations. ${works} work. ${absent} of swarm and of plugins answer in the words of a Docker engine that is in no
swarm and has no plugins ("as Docker without swarm", "as Docker without plugins"). ${all.length - works - absent} are refused. So ${works + absent} answer as a single Docker engine without swarm
and plugins does.

Clients negotiate any API version from 1.24 on; "since" is the version in which Docker got the operation. Tests are named by file, below \`tests\`, and title.

${table(
  ["operation", "request", "since", "answer", "shown by"],
  all.map((operation) => [
    operation.name,
    `\`${operation.method} ${operation.path}\``,
    operation.refusal === undefined ? `1.${SINCE[operation.name] ?? MINIMUM_API_VERSION}` : "",
    described(operation),
    testsOf(operation).map(cell).join("; "),
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
