import { closeSync } from "node:fs";
import { LinkError } from "../../src/link/link-error.ts";
import type { TreeTarget } from "../../src/link/operations.ts";
import { sendArchive, sendBytes } from "../link/archives.ts";
import { sendLogs } from "../link/logs.ts";
import { type CallHandlers, inputBytes, type StreamHandlers } from "../link/request.ts";
import { resolveUser } from "../process/users.ts";
import type { StateReport } from "../state.ts";
import { OPEN, open } from "../system/libc.ts";
import { applyLayer, exportTree, listTree, packLayer, pathStat, readArchive, writeArchive } from "../tree/index.ts";
import type { Mounts } from "./mounts.ts";

/** User and group in the tree's own /etc/passwd. */
const ownerOf = async (content: string, user: string): Promise<{ uid: number; gid: number }> => {
  const root = open(content, OPEN.path | OPEN.directory);
  try {
    return await resolveUser(root, user, []);
  } finally {
    closeSync(root);
  }
};

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
  const contentOf = (tree: TreeTarget): string => mounts.get(mountOf(tree)).content;

  const calls: CallHandlers = {
    state: () => state.current,
    pathStat: ({ tree, path }) => pathStat(contentOf(tree), path),
    diskFormat: ({ disk, label }) => mounts.format(disk, label),
    diskMount: async ({ disk, readOnly }) => ({ mount: await mounts.mount(disk, readOnly) }),
    diskUnmount: ({ mount }) => mounts.unmount(mount),
    diskGrow: ({ mount }) => mounts.grow(mount),
    diskUsage: ({ mount }) => mounts.usage(mount),
    diskState: ({ mount }) => mounts.state(mount),
    shutdown: () => shutDown(),
  };

  const streams: StreamHandlers = {
    logs: (request, channel) =>
      sendLogs(mounts.logs(mountOf(request.tree)), undefined, { ...request, follow: false }, channel),
    archiveRead: async ({ tree, path }, channel) => sendArchive(await readArchive(contentOf(tree), path), channel),
    archiveWrite: async ({ tree, path, noOverwriteDirNonDir, copyOwner, user }, channel) => {
      const containerOwner = copyOwner && user ? await ownerOf(contentOf(tree), user) : undefined;
      const options = { noOverwriteDirNonDir, copyOwner, ...(containerOwner && { containerOwner }) };
      const statistics = await writeArchive(contentOf(tree), path, inputBytes(channel), options);
      await channel.control({ ...statistics });
    },
    layerApply: async ({ mount }, channel) => {
      const statistics = await applyLayer(mounts.get(mount).content, inputBytes(channel));
      await channel.control({ ...statistics });
    },
    treeExport: ({ tree }, channel) => sendBytes(exportTree(contentOf(tree)), channel),
    treeList: ({ tree }, channel) => sendBytes(listTree(contentOf(tree)), channel),
    layerPack: ({ tree }, channel) => sendBytes(packLayer(contentOf(tree), inputBytes(channel)), channel),
  };
  return { calls, streams };
};
