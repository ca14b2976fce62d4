import { rmSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** What an operation is about to do to files, written down first so that the next start can finish or undo it. */
export type Intent =
  /** New files; undone unless the VM's stored configuration uses them. */
  | { kind: "make"; vmxFile: string; files: string[]; directory?: string }
  /** Files to delete, whatever happens. */
  | { kind: "remove"; files: string[]; directory?: string };

/** A half-written intent is one whose operation had not begun. */
function parse(text: string): Intent | undefined {
  try {
    return JSON.parse(text) as Intent;
  } catch {
    return undefined;
  }
}

/**
 * One file per operation in progress. It is for a lab that was killed, and so not synced: what reached the kernel is there at the next
 * start. After a machine's crash, files of an operation may be left over.
 */
export class Journal {
  #last = 0;

  private constructor(private readonly directory: string) {}

  static async open(stateDirectory: string): Promise<Journal> {
    const directory = join(stateDirectory, "journal");
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return new Journal(directory);
  }

  /** Writes an intent down; the returned function crosses it out. */
  async begin(intent: Intent): Promise<() => Promise<void>> {
    const file = join(this.directory, `${process.pid}-${Date.now()}-${++this.#last}.json`);
    writeFileSync(file, JSON.stringify(intent), { mode: 0o600 });
    return async () => rmSync(file, { force: true });
  }

  /** Hands every intent of an earlier run to `settle` and crosses it out. */
  async recover(settle: (intent: Intent) => Promise<void>): Promise<void> {
    for (const name of await readdir(this.directory)) {
      const file = join(this.directory, name);
      const intent = name.endsWith(".json") ? parse(await readFile(file, "utf8")) : undefined;
      if (intent) await settle(intent);
      rmSync(file, { force: true });
    }
  }
}
