import type { Channel } from "../../src/link/contract.ts";
import { type FileStat, STREAM } from "../../src/link/operations.ts";

/** Sends a tar to its end. */
export const sendTar = async (tar: AsyncIterable<Uint8Array>, channel: Channel): Promise<void> => {
  // A failed send leaves the loop, which closes the archive.
  for await (const bytes of tar) await channel.send(STREAM.stdout, bytes);
  await channel.end(STREAM.stdout);
};

/** Sends what the archive is about, then the archive. */
export const sendArchive = async (
  archive: { stat: FileStat; tar: AsyncIterable<Uint8Array> },
  channel: Channel,
): Promise<void> => {
  await channel.control({ ...archive.stat });
  await sendTar(archive.tar, channel);
};
