/** `vmware.log` in the VM's directory: a few lines per life-cycle event, for the administrator who looks there first. */
import { appendFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";

/** A longer log moves to vmware-1.log at the next power-on. */
const ROTATE_BYTES = 256 * 1024;

export class VmwareLog {
  readonly #file: string;
  readonly #complain: (message: string) => void;
  #queue: Promise<void> = Promise.resolve();

  constructor(directory: string, complain: (message: string) => void) {
    this.#file = join(directory, "vmware.log");
    this.#complain = complain;
  }

  write(message: string): void {
    const line = `${new Date().toISOString()} In(05) vmx - ${message.replaceAll(/[\r\n]+/g, " | ")}\n`;
    this.#queue = this.#queue
      .then(() => appendFile(this.#file, line))
      .catch((error: NodeJS.ErrnoException) => {
        // The VM may be unregistered and its directory deleted while the last line is on its way.
        if (error.code !== "ENOENT") this.#complain(`cannot write ${this.#file}: ${error.message}`);
      });
  }

  async rotate(): Promise<void> {
    const size = await stat(this.#file).then(
      (status) => status.size,
      () => 0,
    );
    if (size > ROTATE_BYTES) await rename(this.#file, this.#file.replace(/\.log$/, "-1.log"));
  }

  /** Resolves when everything is written. */
  flushed(): Promise<void> {
    return this.#queue;
  }
}
