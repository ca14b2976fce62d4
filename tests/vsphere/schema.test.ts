/** The committed schema is what the generator makes of the pyVmomi release that it names. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PYTHON, PYVMOMI_RELEASE, pyvmomiRelease } from "../lab/pyvmomi-release.ts";

const SCHEMA = join(import.meta.dir, "../../src/vsphere/vim25");
const FETCH_LIMIT_MILLISECONDS = 240_000;

test(
  `the schema is what the generator makes of pyVmomi ${PYVMOMI_RELEASE}`,
  async () => {
    const out = await mkdtemp(join(tmpdir(), "vch-schema-"));
    try {
      const tables = join(await pyvmomiRelease(), "pyVmomi");
      const made = await Bun.$`${PYTHON} -B ${join(SCHEMA, "generate/generate.py")} --tables ${tables} --out ${out}`
        .quiet()
        .nothrow();
      expect(made.stderr.toString()).toBe("");
      for (const name of ["schema.generated.ts", "types.generated.ts"])
        expect(await Bun.file(join(out, name)).text()).toBe(await Bun.file(join(SCHEMA, name)).text());
    } finally {
      await rm(out, { recursive: true });
    }
  },
  FETCH_LIMIT_MILLISECONDS,
);
