import { shareError } from "./fields.ts";

/**
 * Attributes of a file on the wire: the device as u64, then struct fuse_attr of the kernel's FUSE interface
 * (include/uapi/linux/fuse.h), so that the tether passes them on as they are.
 */
export interface FileAttributes {
  /** Which file system: with `inode` it tells files apart. */
  device: bigint;
  inode: bigint;
  size: bigint;
  /** Of 512 bytes. */
  blocks: bigint;
  /** Seconds since 1970, as two's complement. */
  accessed: bigint;
  modified: bigint;
  changed: bigint;
  accessedNanoseconds: number;
  modifiedNanoseconds: number;
  changedNanoseconds: number;
  /** With the file's type. */
  mode: number;
  links: number;
  uid: number;
  gid: number;
  /** Of a device node, as the kernel encodes it in 32 bits. */
  deviceNumber: number;
  blockSize: number;
}

export const FUSE_ATTRIBUTES_LENGTH = 88;
export const ATTRIBUTES_LENGTH = 8 + FUSE_ATTRIBUTES_LENGTH;

export const encodeAttributes = (attributes: FileAttributes, into = Buffer.alloc(ATTRIBUTES_LENGTH)): Buffer => {
  const { device, inode, size, blocks, accessed, modified, changed } = attributes;
  let at = 0;
  for (const value of [device, inode, size, blocks, accessed, modified, changed])
    at = into.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  const { accessedNanoseconds, modifiedNanoseconds, changedNanoseconds } = attributes;
  const { mode, links, uid, gid, deviceNumber, blockSize } = attributes;
  for (const value of [accessedNanoseconds, modifiedNanoseconds, changedNanoseconds, mode, links])
    at = into.writeUInt32LE(value, at);
  for (const value of [uid, gid, deviceNumber, blockSize, 0]) at = into.writeUInt32LE(value, at);
  return into;
};

/** What the tether itself looks at. Throws FormatError when the length is wrong. */
export const identityOf = (attributes: Uint8Array): { key: string; mode: number; links: number } => {
  if (attributes.length !== ATTRIBUTES_LENGTH) throw shareError("attributes of a wrong length");
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.length);
  const key = `${view.getBigUint64(0, true)}:${view.getBigUint64(8, true)}`;
  return { key, mode: view.getUint32(68, true), links: view.getUint32(72, true) };
};

export const decodeAttributes = (attributes: Uint8Array): FileAttributes => {
  if (attributes.length !== ATTRIBUTES_LENGTH) throw shareError("attributes of a wrong length");
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.length);
  const long = (index: number): bigint => view.getBigUint64(index * 8, true);
  const word = (index: number): number => view.getUint32(56 + index * 4, true);
  return {
    device: long(0),
    inode: long(1),
    size: long(2),
    blocks: long(3),
    accessed: long(4),
    modified: long(5),
    changed: long(6),
    accessedNanoseconds: word(0),
    modifiedNanoseconds: word(1),
    changedNanoseconds: word(2),
    mode: word(3),
    links: word(4),
    uid: word(5),
    gid: word(6),
    deviceNumber: word(7),
    blockSize: word(8),
  };
};
