import { closeSync } from "node:fs";
import { bind, OPEN, readFd, socket, waitReadable } from "../system/libc.ts";

const AF_NETLINK = 16;
const SOCK_DGRAM = 2;
const NETLINK_KOBJECT_UEVENT = 15;
const KERNEL_GROUP = 1;

/** The kernel's device events, as a reason to look again. */
export class DeviceEvents {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(16 * 1024);

  constructor() {
    this.#fd = socket(AF_NETLINK, SOCK_DGRAM | OPEN.nonBlocking, NETLINK_KOBJECT_UEVENT);
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(8, KERNEL_GROUP, true);
    bind(this.#fd, address);
  }

  /** Waits for the next event, at most `milliseconds`. Blocks the whole program. */
  waitBlocking(milliseconds: number): void {
    if (waitReadable(this.#fd, milliseconds)) this.#drain();
  }

  #drain(): void {
    try {
      while (readFd(this.#fd, this.#buffer) !== undefined);
    } catch {
      // ENOBUFS: events were lost. That too is a reason to look again.
    }
  }

  /** One chunk per event. */
  stream(): ReadableStream<Uint8Array> {
    return Bun.file(this.#fd).stream();
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Returns what `look` finds, looking again at every device event; undefined after the limit. For boot. */
export const waitForDevice = <T>(look: () => T | undefined, limitMilliseconds: number): T | undefined => {
  const first = look();
  if (first !== undefined) return first;
  const events = new DeviceEvents();
  try {
    const deadline = performance.now() + limitMilliseconds;
    for (;;) {
      const found = look();
      const left = deadline - performance.now();
      if (found !== undefined || left <= 0) return found;
      events.waitBlocking(left);
    }
  } finally {
    events.close();
  }
};

/** The same for a program that serves others meanwhile. */
export const deviceAppears = async <T>(
  look: () => T | undefined,
  limitMilliseconds: number,
): Promise<T | undefined> => {
  const first = look();
  if (first !== undefined) return first;
  const events = new DeviceEvents();
  const reader = events.stream().getReader();
  const timer = setTimeout(() => void reader.cancel(), limitMilliseconds);
  try {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      // Ends at the limit, when the timer cancels the reader.
      if ((await reader.read()).done) return look();
    }
  } finally {
    clearTimeout(timer);
    await reader.cancel();
    events.close();
  }
};
