/** Containers as the Docker API asks for them. */
import { LinkError } from "../../link/link-error.ts";
import type { EngineContext } from "../context.ts";
import type { Containers } from "../contract.ts";
import { conflict, notImplemented } from "../errors.ts";
import { exportContainer, pathStat, readArchive, writeArchive } from "./archive.ts";
import { attachContainer } from "./attach.ts";
import { containerChanges } from "./changes.ts";
import { commitContainer } from "./commit.ts";
import { publishContainer } from "./container-events.ts";
import { createContainer } from "./create.ts";
import { inspectContainer } from "./inspect.ts";
import { listContainers } from "./list.ts";
import { containerLogs } from "./logs.ts";
import { pauseContainer, unpauseContainer } from "./pause.ts";
import { pruneContainers } from "./prune.ts";
import { removeContainer } from "./remove.ts";
import { renameContainer } from "./rename.ts";
import { startContainer } from "./start.ts";
import { containerStats, containerTop } from "./stats.ts";
import { restartContainer, signalContainer, stopContainer } from "./stop.ts";
import { updateContainer } from "./update.ts";
import { waitContainer } from "./wait.ts";

export function makeContainers(context: EngineContext): Containers {
  const { table, events } = context;
  return {
    create: (name, body, platform) => createContainer(context, name, body, platform),
    list: (options) => listContainers(context, options),
    inspect: async (reference, options) => inspectContainer(context, table.get(reference), options),
    start: async (reference) => {
      const container = table.get(reference);
      await container.queue.run(async () => {
        container.lostRuns = 0;
        await startContainer(context, container);
      });
    },
    stop: async (reference, options) => stopContainer(context, table.get(reference), options),
    restart: async (reference, options) => restartContainer(context, table.get(reference), options),
    kill: async (reference, signal) => signalContainer(context, table.get(reference), signal),
    rename: async (reference, name) => renameContainer(context, table.get(reference), name),
    wait: async (reference, condition, signal) => waitContainer(table.get(reference), condition, signal),
    remove: async (reference, options) => {
      if (options.link)
        throw notImplemented(
          "rm --link is not supported: links are entries in /etc/hosts. Remove the container instead",
        );
      await removeContainer(context, table.get(reference), options);
    },
    attach: async (reference, options) => attachContainer(context, table.get(reference), options),
    logs: async (reference, options) => containerLogs(context, table.get(reference), options),
    resize: async (reference, rows, columns) => {
      const container = table.get(reference);
      // The CLI asks before the process is there, and again.
      if (!container.isRunning)
        throw conflict(`cannot resize a stopped container: container ${container.id} is not running`);
      const link = await container.link();
      try {
        await link.call("resize", { process: "main", rows, columns });
      } catch (error) {
        if (error instanceof LinkError && error.code === "not-running")
          throw conflict(`container ${container.id} is not running`);
        throw error;
      }
      publishContainer(events, container, "resize", { height: String(rows), width: String(columns) });
    },
    top: async (reference, psArguments) => containerTop(context, table.get(reference), psArguments),
    stats: (reference, options) => containerStats(table.get(reference), options),
    pathStat: async (reference, path) => pathStat(context, table.get(reference), path),
    readArchive: async (reference, path) => {
      const container = table.get(reference);
      const archive = await readArchive(context, container, path);
      publishContainer(events, container, "archive-path");
      return archive;
    },
    writeArchive: async (reference, path, tar, options) => {
      const container = table.get(reference);
      await writeArchive(context, container, path, tar, options);
      publishContainer(events, container, "extract-to-dir");
    },
    export: async (reference) => {
      const container = table.get(reference);
      const tar = await exportContainer(context, container);
      publishContainer(events, container, "export");
      return tar;
    },
    pause: async (reference) => pauseContainer(context, table.get(reference)),
    unpause: async (reference) => unpauseContainer(context, table.get(reference)),
    update: async (reference, body) => updateContainer(context, table.get(reference), body),
    changes: async (reference) => containerChanges(context, table.get(reference)),
    commit: async (reference, options) => commitContainer(context, table.get(reference), options),
    prune: (filters) => pruneContainers(context, filters),
  };
}
