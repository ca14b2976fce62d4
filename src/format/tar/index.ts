/**
 * Tar archives as streams, both ways.
 *
 * @example
 * for await (const { header, body } of readTar(source)) {
 *   if (header.type === "file") for await (const chunk of body) sink.write(chunk);
 * }
 *
 * @example
 * for await (const chunk of writeTar([{ header: { name: "a", type: "file", size: 3 }, body: [bytes] }])) sink.write(chunk);
 */
export { readTar } from "./reader";
export type { SparseExtent, TarEntry, TarEntryType, TarHeader, TarHeaderInput, TarPiece } from "./types";
export { endOfTar, type TarMember, tarHeader, tarPadding, writeTar } from "./writer";
