import { closeFd, ERRNO, ShareFailure } from "./system-calls.ts";

/** Files and directories that one client may have open at a time. */
export const HANDLE_LIMIT = 16_384;

export interface Handle {
  readonly fd: number;
  readonly kind: "file" | "directory";
  readonly readable: boolean;
  readonly writable: boolean;
  /** The index of its share. */
  readonly share: number;
}

interface Entry extends Handle {
  users: number;
  closing: boolean;
}

/** Open files by number. One that is closed while a read or write is under way stays open until that has ended. */
export class Handles {
  readonly #open = new Map<number, Entry>();
  #next = 1;

  /** Takes over `fd`. */
  add(handle: Handle): number {
    if (this.#open.size >= HANDLE_LIMIT) {
      closeFd(handle.fd);
      throw new ShareFailure(ERRNO.ENFILE);
    }
    while (this.#open.has(this.#next)) this.#next = (this.#next % 0x7fff_ffff) + 1;
    const number = this.#next;
    this.#next = (this.#next % 0x7fff_ffff) + 1;
    this.#open.set(number, { ...handle, users: 0, closing: false });
    return number;
  }

  get(number: number, share: number): Handle {
    return this.#entry(number, share);
  }

  /** Calls `use` with the handle, which stays open meanwhile. */
  async using<T>(number: number, share: number, use: (handle: Handle) => Promise<T>): Promise<T> {
    const entry = this.#entry(number, share);
    entry.users++;
    try {
      return await use(entry);
    } finally {
      entry.users--;
      if (entry.closing && entry.users === 0) closeFd(entry.fd);
    }
  }

  close(number: number, share: number): void {
    const entry = this.#entry(number, share);
    this.#open.delete(number);
    entry.closing = true;
    if (entry.users === 0) closeFd(entry.fd);
  }

  closeAll(): void {
    for (const [number, { share }] of [...this.#open]) this.close(number, share);
  }

  #entry(number: number, share: number): Entry {
    const entry = this.#open.get(number);
    if (entry === undefined || entry.share !== share) throw new ShareFailure(ERRNO.EBADF);
    return entry;
  }
}
