import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveFakeLab } from "./fake-lab-process.ts";

/** Debian's own Python, which python3-pyvmomi is installed for. */
const PYTHON = "/usr/bin/python3";

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
