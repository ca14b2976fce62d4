/** What an archive member is. */
export type TarEntryType = "file" | "directory" | "symlink" | "link" | "character" | "block" | "fifo";

/** One member's metadata, with pax records and GNU extensions already applied. */
export interface TarHeader {
  /** Path as stored: it may be absolute, hold `..`, or end in `/` (directories). The reader of it must be careful. */
  name: string;
  /** The path's bytes, only when they are not valid UTF-8; `name` is then an approximation for messages. */
  rawName?: Uint8Array;
  type: TarEntryType;
  /** Permission bits, 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Length of the content in bytes (holes of a sparse file included); 0 for everything but files. */
  size: number;
  /** Modification time in nanoseconds since 1970-01-01T00:00:00Z. */
  mtime: bigint;
  /** Target of a symlink or link, otherwise empty. */
  linkName: string;
  /** Like `rawName`, for `linkName`. */
  rawLinkName?: Uint8Array;
  uname: string;
  gname: string;
  devMajor: number;
  devMinor: number;
  /** Pax records that are not expressed by another field, for example `comment`. */
  pax: ReadonlyMap<string, string>;
  /** Extended attributes (pax `SCHILY.xattr.*`) by their full name, for example `security.capability`. */
  xattrs: ReadonlyMap<string, Uint8Array>;
}

/** A header to write: only what cannot be guessed is required. */
export type TarHeaderInput = Pick<TarHeader, "name" | "type"> & Partial<TarHeader>;

/** A stretch of a sparse file that is stored in the archive; everything between is zeros. */
export interface SparseExtent {
  offset: number;
  length: number;
}

/** A piece of content and its place in the file. */
export interface TarPiece {
  offset: number;
  data: Uint8Array;
}

/** One member while it is the current one: its content can be read only until the next member is asked for. */
export interface TarEntry {
  header: TarHeader;
  /** Present for a sparse file: the stored stretches, in ascending order, not overlapping. */
  sparse?: readonly SparseExtent[];
  /** The content, `header.size` bytes, holes as zeros. May be left unread, in whole or in part. */
  body: AsyncIterable<Uint8Array>;
  /** The same content without the holes, for writing a sparse file as such. Use this or `body`, not both. */
  pieces: AsyncIterable<TarPiece>;
}

/** Tar's unit: headers are this long, contents are padded to it. */
export const TAR_BLOCK = 512;
