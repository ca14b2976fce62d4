import { ioctl, OPEN, open, readFd, setNonBlocking, waitReadable, writeFd } from "../system/libc.ts";
import { encodeCommand, ReplyReader } from "./serial-frame.ts";
import type { RpciTransport } from "./transport.ts";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
/** struct termios of the kernel: four flag words, the line discipline and 19 control characters. */
const TERMIOS_LENGTH = 36;
const CS8_B115200_READ_LOCAL = 0o60 | 0o10002 | 0o200 | 0o4000;
const VTIME = 17 + 5;
const VMIN = 17 + 6;

/** The lab's carrier: a dedicated serial port. undefined when there is no such port. */
export const openSerialTransport = (path: string): RpciTransport | undefined => {
  let fd: number;
  try {
    fd = open(path, OPEN.readWrite | OPEN.noControllingTerminal | OPEN.nonBlocking);
    makeRaw(fd);
  } catch {
    // No node, or a node without a UART behind it: ioctl says EIO.
    return undefined;
  }
  const buffer = new Uint8Array(64 * 1024);
  let id = Math.floor(Math.random() * 0xffff_ffff);
  return {
    name: path,
    exchange: (message, limit) => {
      id = (id + 1) % 0xffff_ffff;
      const deadline = performance.now() + limit;
      const reply = new ReplyReader(id);
      writeAll(fd, encodeCommand(id, message), deadline);
      while (performance.now() < deadline) {
        if (!waitReadable(fd, deadline - performance.now())) break;
        const count = readFd(fd, buffer) ?? 0;
        const found = reply.push(buffer.subarray(0, count));
        if (found !== undefined) return found;
      }
      throw new Error(`no reply from ${path}`);
    },
  };
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

/** A full output queue empties at line speed: waiting for readability in between is a pause that replies cut short. */
const writeAll = (fd: number, bytes: Uint8Array, deadline: number): void => {
  for (let offset = 0; offset < bytes.length; ) {
    offset += writeFd(fd, bytes.subarray(offset));
    if (performance.now() > deadline) throw new Error("the serial port takes no data");
    if (offset < bytes.length) waitReadable(fd, 1);
  }
};
