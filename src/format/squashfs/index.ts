/** Squashfs 4.0 images: written as a stream, read by random access. */
export type { SquashfsCompression } from "./layout";
export { isSquashfs, type SquashfsEntry, SquashfsReader } from "./reader";
export { planSquashfs, type SquashfsImage, type SquashfsOptions } from "./writer";
