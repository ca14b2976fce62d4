/** `docker container prune` */

import type { EngineContext } from "../context.ts";
import type { Filters } from "../contract.ts";
import { EngineError, invalid } from "../errors.ts";
import { checkFilters, labelsMatch } from "../filters.ts";
import { parseFilterTime } from "../time.ts";
import { createdAt } from "./list.ts";
import { removeContainer } from "./remove.ts";
import { containerSizes } from "./sizes-on-disk.ts";

/** The point in time of an `until` filter, nanoseconds, or undefined. */
export function untilOf(filters: Filters): bigint | undefined {
  const [text, ...more] = filters.get("until") ?? [];
  if (text === undefined) return undefined;
  const time = parseFilterTime(text);
  if (time === undefined || more.length > 0) throw invalid(`invalid until filter: ${JSON.stringify(text)}`);
  return time;
}

export async function pruneContainers(
  context: EngineContext,
  filters: Filters,
): Promise<{ ContainersDeleted: string[]; SpaceReclaimed: number }> {
  checkFilters(filters, ["label", "label!", "until"]);
  const until = untilOf(filters);
  const chosen = context.table
    .all()
    .filter(
      (container) =>
        !container.isRunning &&
        !container.starting &&
        ["created", "exited", "dead"].includes(container.status) &&
        labelsMatch(filters, container.document.config.Labels ?? {}) &&
        (until === undefined || BigInt(createdAt(container)) < until),
    );
  const result = { ContainersDeleted: [] as string[], SpaceReclaimed: 0 };
  await Promise.all(
    chosen.map(async (container) => {
      try {
        const { rw } = await containerSizes(context, container);
        await removeContainer(context, container, { force: false, volumes: false });
        result.ContainersDeleted.push(container.id);
        result.SpaceReclaimed += rw;
      } catch (error) {
        // Started or removed by somebody else meanwhile: not to be pruned any more.
        if (!(error instanceof EngineError)) throw error;
        context.log(`prune: container ${container.name}: ${error.message}`);
      }
    }),
  );
  context.events.publish("container", "prune", "", { reclaimed: String(result.SpaceReclaimed) });
  return result;
}
