import type { Channel } from "../../src/link/contract.ts";
import { type FileStat, STREAM } from "../../src/link/operations.ts";

/** Sends a stream of bytes to its end. */
export const sendBytes = async (stream: AsyncIterable<Uint8Array>, channel: Channel): Promise<void> => {
  // A failed send leaves the loop, which closes the source.
  for await (const bytes of stream) await channel.send(STREAM.stdout, bytes);
  await channel.end(STREAM.stdout);
};

/** Sends what the archive is about, then the archive. */
export const sendArchive = async (
  archive: { stat: FileStat; tar: AsyncIterable<Uint8Array> },
  channel: Channel,
): Promise<void> => {
  await channel.control({ ...archive.stat });
  await sendBytes(archive.tar, channel);
};
