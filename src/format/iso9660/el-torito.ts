import { FormatError } from "../format-error";
import { ISO_BLOCK, type IsoFile } from "./tree";

/** Firmware that a boot image is for, by its El Torito platform number. */
export const bootPlatform = { bios: 0, efi: 0xef } as const;

/** A boot image: a file of the tree that the firmware loads without emulating a disk. */
export interface BootImage {
  platform: keyof typeof bootPlatform;
  file: IsoFile;
  /** 512-byte sectors that the firmware reads before it starts the image: 4 for isolinux, which loads its rest itself. */
  loadSectors: number;
}

const MAX_IMAGES = 32;

/**
 * The boot catalog, one block. The first image is the default entry, as BIOSes take no other; each further one gets a
 * section of its own.
 */
export function encodeBootCatalog(images: readonly { image: BootImage; block: number }[]): Uint8Array {
  const [first, ...others] = images;
  if (first === undefined || images.length > MAX_IMAGES)
    throw new FormatError("iso9660", "between 1 and 32 boot images");
  const catalog = new Uint8Array(ISO_BLOCK);
  catalog.set(validationEntry(bootPlatform[first.image.platform]));
  catalog.set(imageEntry(first), 32);
  others.forEach((other, index) => {
    const header = new Uint8Array(32);
    header[0] = index === others.length - 1 ? 0x91 : 0x90;
    header[1] = bootPlatform[other.image.platform];
    header[2] = 1;
    catalog.set(header, 64 + index * 64);
    catalog.set(imageEntry(other), 96 + index * 64);
  });
  return catalog;
}

function validationEntry(platform: number): Uint8Array {
  const entry = new Uint8Array(32);
  const view = new DataView(entry.buffer);
  entry[0] = 1;
  entry[1] = platform;
  entry.set([0x55, 0xaa], 30);
  // All words of the entry add up to zero.
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += view.getUint16(at, true);
  view.setUint16(28, -sum & 0xffff, true);
  return entry;
}

function imageEntry({ image, block }: { image: BootImage; block: number }): Uint8Array {
  const entry = new Uint8Array(32);
  const view = new DataView(entry.buffer);
  entry[0] = 0x88;
  view.setUint16(6, image.loadSectors, true);
  view.setUint32(8, block, true);
  return entry;
}

/**
 * A copy of an isolinux-style boot image with its boot information table filled in: where the volume descriptor and the
 * image itself lie, so that the image finds the rest of itself and can check it.
 */
export function withBootInformation(image: Uint8Array, block: number): Uint8Array {
  const start = 64;
  if (image.length < start)
    throw new FormatError("iso9660", "the boot image is too short for a boot information table");
  const patched = image.slice();
  const view = new DataView(patched.buffer);
  const padded = new Uint8Array(Math.ceil(image.length / 4) * 4);
  padded.set(image);
  const words = new DataView(padded.buffer);
  let sum = 0;
  for (let at = start; at < padded.length; at += 4) sum = (sum + words.getUint32(at, true)) >>> 0;
  view.setUint32(8, 16, true);
  view.setUint32(12, block, true);
  view.setUint32(16, image.length, true);
  view.setUint32(20, sum, true);
  patched.fill(0, 24, start);
  return patched;
}
