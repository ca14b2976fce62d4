import { closeSync } from "node:fs";
import { withPathInRoot } from "../boot/tree-path.ts";
import { ioctl, OPEN, open, setNonBlocking } from "../system/libc.ts";

const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
const TIOCSWINSZ = 0x5414;

export interface TerminalPair {
  /** Our side, non-blocking. */
  master: number;
  /** The process's side. */
  slave: number;
}

/** A terminal of the container's own devpts, so that it is /dev/pts/N in there. */
export const openTerminal = (root: number, size?: { rows: number; columns: number }): TerminalPair => {
  const flags = OPEN.readWrite | OPEN.noControllingTerminal;
  const master = withPathInRoot(root, "/dev/pts/ptmx", (path) => open(path, flags));
  try {
    const number = new Uint8Array(4);
    ioctl(master, TIOCSPTLCK, new Uint8Array(4));
    ioctl(master, TIOCGPTN, number);
    const name = `/dev/pts/${new DataView(number.buffer).getUint32(0, true)}`;
    const slave = withPathInRoot(root, name, (path) => open(path, flags));
    setNonBlocking(master);
    if (size !== undefined) resizeTerminal(master, size.rows, size.columns);
    return { master, slave };
  } catch (error) {
    closeSync(master);
    throw error;
  }
};

export const resizeTerminal = (master: number, rows: number, columns: number): void => {
  const size = new Uint8Array(8);
  const view = new DataView(size.buffer);
  view.setUint16(0, rows, true);
  view.setUint16(2, columns, true);
  ioctl(master, TIOCSWINSZ, size);
};
