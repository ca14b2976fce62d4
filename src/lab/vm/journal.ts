import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../state-file.ts";

/** What an operation is about to do to files, written down first so that the next start can finish or undo it. */
export type Intent =
  /** New files; undone unless the VM's stored configuration uses them. */
  | { kind: "make"; vmxFile: string; files: string[]; directory?: string }
  /** Files to delete, whatever happens. */
  | { kind: "remove"; files: string[]; directory?: string };

/** One file per operation in progress. */
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
    await writeAtomically(file, JSON.stringify(intent));
    return () => rm(file, { force: true });
  }

  /** Hands every intent of an earlier run to `settle` and crosses it out. */
  async recover(settle: (intent: Intent) => Promise<void>): Promise<void> {
    for (const name of await readdir(this.directory)) {
      const file = join(this.directory, name);
      // A half-written intent is one whose operation had not begun.
      if (name.endsWith(".json")) await settle(JSON.parse(await readFile(file, "utf8")) as Intent);
      await rm(file, { force: true });
    }
  }
}
