import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Every virtual disk below a directory is one that `qemu-img check` finds nothing wrong with. Rejects with what it says. */
export async function checkDisks(directory: string): Promise<number> {
  let checked = 0;
  for (const name of await readdir(directory, { recursive: true })) {
    const file = join(directory, name);
    if (!name.endsWith(".vmdk") || !(await stat(file)).isFile()) continue;
    const { exitCode, stdout, stderr } = await Bun.$`qemu-img check ${file}`.quiet().nothrow();
    if (exitCode !== 0) throw new Error(`${name}: ${stdout}${stderr}`);
    checked++;
  }
  return checked;
}
