/** The committed schema against the type tables of the pyVmomi that is installed; tests/vsphere has the one that it was made of. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";

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

  test(`agrees with pyVmomi ${version} in types and wire order`, () => {
    const compared = python(generate, "--tables", directory, "--compare");
    expect(compared?.stderr.toString()).toBe("");
    const [, count] = /^(\d+) types and methods compared, 0 differences/.exec(compared?.stdout.toString() ?? "") ?? [];
    expect(Number(count)).toBeGreaterThan(1000);
  });
});
