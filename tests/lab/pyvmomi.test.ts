import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { serveFakeLab } from "./fake-lab-process.ts";

/** Debian's own Python, which python3-pyvmomi is installed for. */
const PYTHON = "/usr/bin/python3";

/** The release that the schema comes from; fetched from PyPI at the first run, where that can be reached. */
const RECENT = "9.0.0.0";
const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "vch-tests", `pyvmomi-${RECENT}`);

async function recentPackage(): Promise<string> {
  if (!existsSync(join(CACHE, "pyVmomi"))) {
    await Bun.$`${PYTHON} -m pip install --quiet --no-deps --target ${CACHE} pyvmomi==${RECENT}`.quiet();
  }
  return CACHE;
}

test.each(["HostAgent", "VirtualCenter"] as const)(
  `pyVmomi ${RECENT} works with a %s`,
  async (personality) => {
    const directory = await mkdtemp(join(tmpdir(), "vch-pyvmomi-"));
    const lab = await serveFakeLab(directory, personality);
    try {
      const script = join(import.meta.dir, "pyvmomi_client.py");
      const environment = { ...process.env, PYTHONPATH: await recentPackage(), PYTHONDONTWRITEBYTECODE: "1" };
      const { stdout, stderr } = await Bun.$`${PYTHON} -W ignore ${script} ${lab.url} ${personality}`
        .env(environment)
        .quiet()
        .nothrow();
      expect(stderr.toString()).toBe("");
      expect(stdout.toString().trim()).toBe("ok");
    } finally {
      await lab.stop();
      await rm(directory, { recursive: true });
    }
  },
  120_000,
);

for (const personality of ["HostAgent", "VirtualCenter"] as const) {
  test(`pyVmomi works with a ${personality}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), "vch-pyvmomi-"));
    const lab = await serveFakeLab(directory, personality);
    try {
      const script = join(import.meta.dir, "pyvmomi_client.py");
      const { stdout, stderr } = await Bun.$`${PYTHON} -W ignore ${script} ${lab.url} ${personality}`.quiet().nothrow();
      expect(stderr.toString()).toBe("");
      expect(stdout.toString().trim()).toBe("ok");
    } finally {
      await lab.stop();
      await rm(directory, { recursive: true });
    }
  }, 30_000);
}
