/** The committed schema against the type tables of the pyVmomi that is installed: Debian's python3-pyvmomi, or one from PyPI. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const GENERATED_FROM = "9.0.0.0";
const LOCATE = `
import importlib.metadata, importlib.util, os
spec = importlib.util.find_spec("pyVmomi")
print(os.path.dirname(spec.origin) if spec else "", importlib.metadata.version("pyvmomi") if spec else "")
`;

function python(...options: string[]) {
  // Debian's own interpreter: only that one sees Debian's packages.
  const interpreter = ["/usr/bin/python3", "python3"].map((name) => Bun.which(name)).find((path) => path !== null);
  return interpreter === undefined
    ? undefined
    : Bun.spawnSync([interpreter, "-B", ...options], { stdout: "pipe", stderr: "pipe" });
}

const [directory = "", version = ""] = python("-c", LOCATE)?.stdout.toString().trim().split(" ") ?? [];
if (directory === "") console.warn("The schema is not checked against its source: python3-pyvmomi is missing");

describe.skipIf(directory === "")("the schema", () => {
  const generate = join(import.meta.dir, "generate.py");

  test.skipIf(version !== GENERATED_FROM)(`is what the generator makes of pyVmomi ${GENERATED_FROM}`, async () => {
    const out = await mkdtemp(join(tmpdir(), "vch-schema-"));
    try {
      const made = python(generate, "--tables", directory, "--out", out);
      expect(made?.stderr.toString()).toBe("");
      for (const name of ["schema.generated.ts", "types.generated.ts"]) {
        expect(await Bun.file(join(out, name)).text()).toBe(await Bun.file(join(import.meta.dir, "..", name)).text());
      }
    } finally {
      await rm(out, { recursive: true });
    }
  });

  test(`agrees with pyVmomi ${version} in types and wire order`, () => {
    const compared = python(generate, "--tables", directory, "--compare");
    expect(compared?.stderr.toString()).toBe("");
    const [, count] = /^(\d+) types and methods compared, 0 differences/.exec(compared?.stdout.toString() ?? "") ?? [];
    expect(Number(count)).toBeGreaterThan(1000);
  });
});
