import type { TreeTarget } from "../../src/link/operations.ts";
import { Session } from "../../src/link/session.ts";
import { sendArchive } from "../link/archives.ts";
import { type CallHandlers, inputBytes, type StreamHandlers, serveChannel } from "../link/request.ts";
import { PATHS } from "../paths.ts";
import { resolveUser } from "../process/users.ts";
import { OPEN, open } from "../system/libc.ts";
import { pathStat, readArchive, writeArchive } from "./index.ts";
import { overPipes } from "./pipe-transport.ts";

/** The other side of helper.ts: serves the container's files on stdin and stdout until stdin ends. */
export const serveTree = async (): Promise<void> => {
  const rootOf = (_tree: TreeTarget): string => PATHS.root;
  const calls: CallHandlers = { pathStat: ({ tree, path }) => pathStat(rootOf(tree), path) };
  const streams: StreamHandlers = {
    archiveRead: async ({ tree, path }, channel) => sendArchive(await readArchive(rootOf(tree), path), channel),
    archiveWrite: async ({ tree, path, noOverwriteDirNonDir, copyOwner, user }, channel) => {
      const containerOwner = copyOwner && user ? await ownerOf(user) : undefined;
      const options = { noOverwriteDirNonDir, copyOwner, ...(containerOwner && { containerOwner }) };
      const statistics = await writeArchive(rootOf(tree), path, inputBytes(channel), options);
      await channel.control({ ...statistics });
    },
  };
  const session = overPipes((transport) => new Session(transport, "tether"), Bun.stdin.stream(), Bun.stdout.writer());
  session.onChannel((channel) => void serveChannel(channel, calls, streams));
  await session.closed;
};

/** This program ends with its request: the directory need not be closed. */
const ownerOf = (user: string): Promise<{ uid: number; gid: number }> =>
  resolveUser(open(PATHS.root, OPEN.path | OPEN.directory), user, []);
