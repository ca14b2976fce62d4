/** WORKDIR makes its directory, as dockerd's classic builder does: owned by root, symlinks of the image followed. */
import { type TarMember, writeTar } from "../../format/tar/index.ts";
import type { LayerBelow } from "../images/contract.ts";
import { Destination } from "./copy/destination.ts";

export const directoryLayer =
  (path: string) =>
  (below: LayerBelow): AsyncIterable<Uint8Array> =>
    writeTar(madeDirectories(path, below));

async function* madeDirectories(path: string, below: LayerBelow): AsyncGenerator<TarMember> {
  yield* new Destination(below, { uid: 0, gid: 0 }, true).directory(path);
}
