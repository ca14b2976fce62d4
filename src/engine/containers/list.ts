/** `docker ps` with all of its filters. */

import type { EngineContext } from "../context.ts";
import type { Filters, Schemas } from "../contract.ts";
import { EngineError, invalid } from "../errors.ts";
import { anyOf, booleanFilter, checkFilters, expressionMatches, labelsMatch } from "../filters.ts";
import { VSPHERE_CONCURRENCY } from "../limits.ts";
import { parseTime } from "../time.ts";
import { Semaphore } from "../waiting.ts";
import type { Container } from "./container.ts";
import { healthOf } from "./health.ts";
import { mountPoint, summarize } from "./inspect.ts";
import { parsePort } from "./ports.ts";
import { containerSizes } from "./sizes-on-disk.ts";

const FILTERS = [
  "ancestor",
  "before",
  "exited",
  "expose",
  "health",
  "id",
  "is-task",
  "isolation",
  "label",
  "label!",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
];
const HEALTH_STATES = ["starting", "healthy", "unhealthy", "none"];
const STATES = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

export async function listContainers(
  context: EngineContext,
  options: { all: boolean; limit?: number; size: boolean; filters: Filters },
): Promise<Schemas["ContainerSummary"][]> {
  const { filters } = options;
  checkFilters(filters, FILTERS);
  for (const state of filters.get("status") ?? [])
    if (!STATES.includes(state)) throw invalid(`invalid filter 'status=${state}'`);
  for (const health of filters.get("health") ?? [])
    if (!HEALTH_STATES.includes(health)) throw invalid(`unrecognized filter value for health: ${health}`);
  const all =
    options.all || (options.limit ?? 0) > 0 || (filters.get("status") ?? []).length > 0 || filters.has("exited");
  const newestFirst = context.table.all().sort((a, b) => createdAt(b) - createdAt(a));
  const images = await ancestors(context, filters);
  const chosen = newestFirst.filter(
    (container) => (all || container.isRunning) && matches(context, container, filters, images),
  );
  const limited = options.limit && options.limit > 0 ? chosen.slice(0, options.limit) : chosen;
  if (!options.size) return limited.map((container) => summarize(context, container));
  const reads = new Semaphore(VSPHERE_CONCURRENCY);
  return await Promise.all(
    limited.map(async (container) => {
      const { rw, root } = await reads.run(() => containerSizes(context, container));
      return { ...summarize(context, container), SizeRw: rw, SizeRootFs: root };
    }),
  );
}

export const createdAt = (container: Container): number => Number(parseTime(container.document.created) ?? 0n);

/** Ids of the images that the ancestor filter names; unknown ones match by the text a container was made with. */
async function ancestors(context: EngineContext, filters: Filters): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const reference of filters.get("ancestor") ?? []) {
    try {
      ids.add((await context.images.resolve(reference)).id);
    } catch (error) {
      if (!(error instanceof EngineError && error.kind === "not-found")) throw error;
    }
  }
  return ids;
}

function matches(context: EngineContext, container: Container, filters: Filters, images: Set<string>): boolean {
  const { document } = container;
  const boundary = (name: "before" | "since"): number | undefined => {
    const reference = filters.get(name)?.[0];
    return reference === undefined ? undefined : createdAt(context.table.get(reference));
  };
  const before = boundary("before");
  const since = boundary("since");
  return (
    anyOf(filters, "id", (value) => document.id.startsWith(value) || expressionMatches(value, document.id)) &&
    anyOf(
      filters,
      "name",
      (value) => expressionMatches(value, document.name) || expressionMatches(value, `/${document.name}`),
    ) &&
    labelsMatch(filters, document.config.Labels ?? {}) &&
    anyOf(filters, "status", (value) => container.status === value) &&
    anyOf(filters, "exited", (value) => exitedWith(container, value)) &&
    anyOf(filters, "ancestor", (value) => images.has(document.image.id) || document.image.reference === value) &&
    anyOf(filters, "health", (value) => (healthOf(container)?.status ?? "none") === value) &&
    anyOf(filters, "network", (value) =>
      Object.entries(document.endpoints).some(
        ([name, endpoint]) => name === value || endpoint.networkId.startsWith(value),
      ),
    ) &&
    anyOf(filters, "volume", (value) =>
      document.mounts.map(mountPoint).some((mount) => mount.Name === value || mount.Destination === value),
    ) &&
    anyOf(filters, "publish", (value) =>
      // Docker looks at the container's side of what was asked for, running or not.
      Object.keys(document.hostConfig.PortBindings ?? {}).some((text) => {
        const { port, protocol } = parsePort(text);
        return inRange(value, port, protocol);
      }),
    ) &&
    anyOf(filters, "expose", (value) =>
      Object.keys(document.config.ExposedPorts ?? {}).some((text) => {
        const { port, protocol } = parsePort(text);
        return inRange(value, port, protocol);
      }),
    ) &&
    (booleanFilter(filters, "is-task") ?? false) === false &&
    anyOf(filters, "isolation", (value) => value === "default") &&
    (before === undefined || createdAt(container) < before) &&
    (since === undefined || createdAt(container) > since)
  );
}

function exitedWith(container: Container, value: string): boolean {
  if (!/^-?\d+$/.test(value)) throw invalid(`invalid filter 'exited=${value}'`);
  return container.run?.finishedAt !== undefined && !container.isRunning && container.run.exitCode === Number(value);
}

/** `80`, `8000-8080/tcp` */
function inRange(expression: string, port: number, protocol: string): boolean {
  const match = /^(\d+)(?:-(\d+))?(?:\/(\w+))?$/.exec(expression);
  if (!match) throw invalid(`invalid filter: invalid port ${JSON.stringify(expression)}`);
  const first = Number(match[1]);
  return port >= first && port <= Number(match[2] ?? first) && protocol === (match[3] ?? "tcp");
}
