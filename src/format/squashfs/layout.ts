/**
 * Constants of squashfs 4.0, the read-only compressed file system of Linux.
 * Facts: Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h of Linux.
 */
export const SQUASHFS_MAGIC = 0x73717368;
export const SUPERBLOCK = 96;
export const METADATA_BLOCK = 8192;
/** In the length of a metadata block: stored as it is. */
export const METADATA_PLAIN = 0x8000;
/** In the length of a data block: stored as it is. */
export const DATA_PLAIN = 1 << 24;
export const NOTHING_32 = 0xffff_ffff;
export const NOTHING_64 = 0xffff_ffff_ffff_ffffn;
/** Superblock flags: no fragments, and no table of extended attributes. */
export const FLAGS = 0x0010 | 0x0200;

export const compressorNumber = { gzip: 1, zstd: 6 } as const;
export type SquashfsCompression = keyof typeof compressorNumber;

export const inodeType = { directory: 1, file: 2, symlink: 3, largeDirectory: 8, largeFile: 9 } as const;

/** Entries that share one header in a directory. */
export const ENTRIES_PER_HEADER = 256;
