/** The file system that goes on the medium, with POSIX names and attributes (Rock Ridge). */
export type IsoNode = IsoFile | IsoDirectory | IsoSymlink;

interface IsoAttributes {
  /** Permission bits, 0 to 0o7777. */
  mode: number;
  uid?: number;
  gid?: number;
}

/** Content of a file: its length must be known before anything is written. */
export interface IsoContent {
  readonly size: number;
  stream(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface IsoFile extends IsoAttributes {
  type: "file";
  content: IsoContent;
  /**
   * Set when the content is a part of another file of the tree, from `offset`, a multiple of 2048, on. It is then stored
   * only there.
   */
  partOf?: { file: IsoFile; offset: number };
}

export interface IsoDirectory extends IsoAttributes {
  type: "directory";
  entries: Map<string, IsoNode>;
}

export interface IsoSymlink {
  type: "symlink";
  target: string;
}

/** Content that is already in memory. */
export function bytesContent(bytes: Uint8Array): IsoContent {
  return { size: bytes.length, stream: () => [bytes] };
}

/** Length of a logical block, the unit of everything on the medium. */
export const ISO_BLOCK = 2048;
