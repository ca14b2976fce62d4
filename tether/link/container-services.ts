import { DISK_LAYOUT } from "../../src/link/guest-configuration.ts";
import { LinkError } from "../../src/link/link-error.ts";
import type { ProcessTarget, TreeTarget } from "../../src/link/operations.ts";
import type { Container } from "../container/container.ts";
import { listProcesses } from "../container/processes.ts";
import { readStatistics } from "../container/statistics.ts";
import { openLiveNetwork } from "../network/open.ts";
import { PATHS } from "../paths.ts";
import type { ChildProcess } from "../process/child.ts";
import { resolveUser } from "../process/users.ts";
import { exportTree, listTree, packLayer, pathStat, readArchive, writeArchive } from "../tree/index.ts";
import { sendArchive, sendBytes } from "./archives.ts";
import { sendLogs } from "./logs.ts";
import { type CallHandlers, inputBytes, type StreamHandlers } from "./request.ts";
import { attach, Execs } from "./stdio.ts";

/**
 * Files of a container with shares are read and written by a process of their own: this one serves the shares, and would wait
 * for itself.
 */
const hasShares = ({ configuration }: Container): boolean => configuration.mounts.some(({ type }) => type === "share");

/** What a container VM serves on the control link. `acknowledged` is called when the engine has the exit state. */
export const containerServices = (
  container: Container,
  acknowledged: () => void,
): { calls: CallHandlers; streams: StreamHandlers } => {
  const execs = new Execs(container);
  const processOf = (target: ProcessTarget): ChildProcess =>
    target === "main" ? container.process : execs.get(target.exec);
  const requireOwnTree = (tree: TreeTarget): string => {
    if (tree !== "container") throw new LinkError("unsupported", "a container VM has no tree but its own");
    return PATHS.root;
  };

  /** The root disk itself, without what is mounted in the container. */
  const ownDisk = (tree: TreeTarget): string => {
    requireOwnTree(tree);
    return `${container.tree.disk}/${DISK_LAYOUT.content}`;
  };

  const calls: CallHandlers = {
    signal: ({ process, signal }) => processOf(process).signal(signal),
    pause: () => container.pause(),
    unpause: () => container.unpause(),
    update: ({ limits, restart }) => container.update(limits, restart),
    resize: ({ process, rows, columns }) => processOf(process).resize(rows, columns),
    stop: ({ signal, timeoutSeconds }) => container.stop(signal, timeoutSeconds),
    acknowledgeExit: () => acknowledged(),
    state: () => container.state.current,
    top: (request) => listProcesses(container.process.pid, container.tree.root, request.arguments),
    statistics: () => readStatistics(container.process.pid),
    configureNetwork: async ({ network, endpoints }) =>
      (await openLiveNetwork(container)).configure(network, endpoints),
    setPeers: async ({ networks }) => (await openLiveNetwork(container)).setPeers(networks),
    pathStat: ({ tree, path }) => pathStat(requireOwnTree(tree), path),
  };

  const streams: StreamHandlers = {
    treeExport: ({ tree }, channel) => sendBytes(exportTree(ownDisk(tree)), channel),
    treeList: ({ tree }, channel) => sendBytes(listTree(ownDisk(tree)), channel),
    layerPack: ({ tree }, channel) => sendBytes(packLayer(ownDisk(tree), inputBytes(channel)), channel),
    freeze: async (_request, channel) => {
      const release = await container.freezer.hold();
      try {
        await channel.control({ frozen: true });
        await channel.closed;
      } finally {
        release();
      }
    },
    attach: (request, channel) => attach(container, request, channel),
    exec: (request, channel) => execs.run(request, channel),
    logs: (request, channel) => {
      requireOwnTree(request.tree);
      if (container.configuration.log.driver === "none") {
        throw new LinkError("unsupported", "configured logging driver does not support reading");
      }
      const { output, state } = container;
      const over = state.current.status === "exited" || state.current.status === "failed";
      return sendLogs(output.log.directory, output, { ...request, follow: request.follow && !over }, channel);
    },
    archiveRead: async ({ tree, path }, channel) => sendArchive(await readArchive(requireOwnTree(tree), path), channel),
    archiveWrite: async ({ tree, path, noOverwriteDirNonDir, copyOwner }, channel) => {
      const root = requireOwnTree(tree);
      const { user, additionalGroups } = container.configuration.process;
      const containerOwner = user === "" ? undefined : await resolveUser(container.tree.root, user, additionalGroups);
      const statistics = await writeArchive(root, path, inputBytes(channel), {
        noOverwriteDirNonDir,
        copyOwner,
        containerOwner,
      });
      await channel.control({ ...statistics });
    },
  };
  if (!hasShares(container)) return { calls, streams };
  return {
    calls: {
      ...calls,
      pathStat: async (request) => (await import("../tree/helper.ts")).callHelper("pathStat", request),
    },
    streams: {
      ...streams,
      archiveRead: async (request, channel) =>
        (await import("../tree/helper.ts")).streamThroughHelper("archiveRead", request, channel),
      archiveWrite: async (request, channel) => {
        const { user } = container.configuration.process;
        const named = user === "" ? request : { ...request, user };
        return (await import("../tree/helper.ts")).streamThroughHelper("archiveWrite", named, channel);
      },
    },
  };
};
