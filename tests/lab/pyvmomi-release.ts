/** pyVmomi in the release that the schema was made of, fetched from PyPI into the tests' cache. */
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/** Debian's own Python, which python3-pyvmomi is installed for. */
export const PYTHON = "/usr/bin/python3";
export const PYVMOMI_RELEASE = "9.0.0.0";
const CACHE = process.env.VCH_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "vch-tests");

/** The folder to import it from. */
export async function pyvmomiRelease(): Promise<string> {
  const folder = join(CACHE, `pyvmomi-${PYVMOMI_RELEASE}`);
  if (existsSync(join(folder, "pyVmomi"))) return folder;
  const making = `${folder}.${process.pid}`;
  await mkdir(CACHE, { recursive: true });
  try {
    await Bun.$`${PYTHON} -m pip install --quiet --no-deps --target ${making} pyvmomi==${PYVMOMI_RELEASE}`.quiet();
    await rm(folder, { recursive: true, force: true });
    await rename(making, folder);
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return folder;
}
