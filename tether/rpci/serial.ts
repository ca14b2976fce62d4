import { readFd, waitReadable, writeFd } from "../system/libc.ts";
import { openSerialPort } from "../system/serial-port.ts";
import { encodeCommand, ReplyReader } from "./serial-frame.ts";
import type { RpciTransport } from "./transport.ts";

/** The lab's carrier: a dedicated serial port. undefined when there is no such port. */
export const openSerialTransport = (path: string): RpciTransport | undefined => {
  let fd: number;
  try {
    fd = openSerialPort(path);
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

/** A full output queue empties at line speed: waiting for readability in between is a pause that replies cut short. */
const writeAll = (fd: number, bytes: Uint8Array, deadline: number): void => {
  for (let offset = 0; offset < bytes.length; ) {
    offset += writeFd(fd, bytes.subarray(offset));
    if (performance.now() > deadline) throw new Error("the serial port takes no data");
    if (offset < bytes.length) waitReadable(fd, 1);
  }
};
