import { LinkError } from "../../src/link/link-error.ts";
import type { TreeTarget } from "../../src/link/operations.ts";
import { sendLogs } from "../link/logs.ts";
import { type CallHandlers, inputBytes, type StreamHandlers } from "../link/request.ts";
import type { StateReport } from "../state.ts";
import { resolveDirectory, resolvePath, sendArchive, sendTree } from "../tree/archive.ts";
import { extractTar } from "../tree/extract.ts";
import type { Mounts } from "./mounts.ts";

/** What a loader VM serves on the control link. */
export const loaderServices = (
  mounts: Mounts,
  state: StateReport,
  shutDown: () => void,
): { calls: CallHandlers; streams: StreamHandlers } => {
  const mountOf = (tree: TreeTarget): string => {
    if (tree === "container") throw new LinkError("unsupported", "a loader has no container");
    return tree.mount;
  };
  const contentOf = (tree: TreeTarget): number => mounts.get(mountOf(tree)).content;

  const calls: CallHandlers = {
    state: () => state.current,
    pathStat: ({ tree, path }) => resolvePath(contentOf(tree), path).stat,
    diskFormat: ({ disk, label }) => mounts.format(disk, label),
    diskMount: async ({ disk, readOnly }) => ({ mount: await mounts.mount(disk, readOnly) }),
    diskUnmount: ({ mount }) => mounts.unmount(mount),
    diskUsage: ({ mount }) => mounts.usage(mount),
    diskState: ({ mount }) => mounts.state(mount),
    shutdown: () => shutDown(),
  };

  const streams: StreamHandlers = {
    logs: (request, channel) =>
      sendLogs(mounts.logs(mountOf(request.tree)), undefined, { ...request, follow: false }, channel),
    archiveRead: ({ tree, path }, channel) => sendArchive(contentOf(tree), path, channel),
    archiveWrite: async ({ tree, path, noOverwriteDirNonDir }, channel) => {
      const root = contentOf(tree);
      const statistics = await extractTar(root, inputBytes(channel), {
        whiteouts: false,
        keepKinds: noOverwriteDirNonDir,
        directory: resolveDirectory(root, path),
      });
      await channel.control({ ...statistics });
    },
    layerApply: async ({ mount }, channel) => {
      const options = { whiteouts: true, keepKinds: false };
      const statistics = await extractTar(mounts.get(mount).content, inputBytes(channel), options);
      await channel.control({ ...statistics });
    },
    treeExport: ({ mount }, channel) => sendTree(mounts.get(mount).content, channel),
  };
  return { calls, streams };
};
