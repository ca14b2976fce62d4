import { ioctl, OPEN, open, setNonBlocking } from "./libc.ts";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
/** struct termios of the kernel: four flag words, the line discipline and 19 control characters. */
const TERMIOS_LENGTH = 36;
const CS8_B115200_READ_LOCAL = 0o60 | 0o10002 | 0o200 | 0o4000;
const VTIME = 17 + 5;
const VMIN = 17 + 6;

/** Opens a serial port, raw and non-blocking. Throws when there is no node, or no UART behind it (EIO). */
export const openSerialPort = (path: string): number => {
  const fd = open(path, OPEN.readWrite | OPEN.noControllingTerminal | OPEN.nonBlocking);
  makeRaw(fd);
  return fd;
};

/** No echo, no translation, no flow control, 115200 8N1. */
const makeRaw = (fd: number): void => {
  const termios = new Uint8Array(TERMIOS_LENGTH);
  ioctl(fd, TCGETS, termios);
  const view = new DataView(termios.buffer);
  for (const offset of [0, 4, 12]) view.setUint32(offset, 0, true);
  view.setUint32(8, CS8_B115200_READ_LOCAL, true);
  termios[VTIME] = 0;
  termios[VMIN] = 1;
  ioctl(fd, TCSETS, termios);
  setNonBlocking(fd);
};
