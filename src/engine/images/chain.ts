/** Chain ids: the identity of a layer together with everything under it (OCI image specification). */
import { digestOf } from "../../registry/digest.ts";

/** Chain ids of the layers, lowest first. */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`));
  }
  return chain;
}

/** Digest of a tar archive without members (two empty blocks), the usual layer of instructions that change no file. */
export const EMPTY_LAYER_DIFF_ID = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
