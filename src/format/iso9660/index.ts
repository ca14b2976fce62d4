/** ISO 9660 images with Rock Ridge and El Torito: written as a stream, read by random access. */
export type { BootImage } from "./el-torito";
export { type IsolinuxBoot, isolinuxBoot } from "./isolinux";
export { type IsoEntry, type IsoSource, readIso, readIsoFile } from "./reader";
export { bytesContent, type IsoContent, type IsoDirectory, type IsoFile, type IsoNode, type IsoSymlink } from "./tree";
export { type IsoImage, type IsoOptions, planIso } from "./writer";
