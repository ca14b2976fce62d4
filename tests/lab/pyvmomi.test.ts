import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveFakeLab } from "./fake-lab-process.ts";
import { PYTHON, PYVMOMI_RELEASE, pyvmomiRelease } from "./pyvmomi-release.ts";

test.each(["HostAgent", "VirtualCenter"] as const)(
  `pyVmomi ${PYVMOMI_RELEASE} works with a %s`,
  async (personality) => {
    const directory = await mkdtemp(join(tmpdir(), "vch-pyvmomi-"));
    const lab = await serveFakeLab(directory, personality);
    try {
      const script = join(import.meta.dir, "pyvmomi_client.py");
      const environment = { ...process.env, PYTHONPATH: await pyvmomiRelease(), PYTHONDONTWRITEBYTECODE: "1" };
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
  }, 120_000);
}
