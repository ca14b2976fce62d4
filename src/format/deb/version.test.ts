import { expect, test } from "bun:test";
import fc from "fast-check";
import { fitsDependency, parseDependencies } from "./dependency";
import { compareDebVersions } from "./version";

/** The oracle is dpkg. */
function dpkgOrder(a: string, b: string): number {
  const is = (relation: string): boolean =>
    Bun.spawnSync(["dpkg", "--compare-versions", a, relation, b], { stderr: "ignore" }).exitCode === 0;
  return is("lt") ? -1 : is("gt") ? 1 : 0;
}

const known = [
  "1.0",
  "1.0-1",
  "1.0~rc1",
  "1.0~~",
  "1:0.5",
  "2.36-9+deb12u14",
  "2.36-9+deb12u7",
  "1.0+dfsg-2",
  "1.0a",
  "0",
];

test("versions are ordered as by dpkg", () => {
  for (const a of known)
    for (const b of known) expect(Math.sign(compareDebVersions(a, b)), `${a} ${b}`).toBe(dpkgOrder(a, b));
  const text = fc
    .string({ unit: fc.constantFrom(..."0019az.+~-"), maxLength: 6 })
    .map((tail) => `1${tail}`.replace(/-$/, "-1"));
  const version = fc
    .tuple(fc.option(fc.nat(2)), text)
    .map(([epoch, rest]) => (epoch === null ? rest : `${epoch}:${rest}`));
  fc.assert(
    fc.property(version, version, (a, b) => {
      expect(Math.sign(compareDebVersions(a, b)), `${a} ${b}`).toBe(dpkgOrder(a, b));
    }),
    { numRuns: 100 },
  );
});

test("dependencies are read with alternatives, versions and architectures", () => {
  const field =
    "libc6 (>= 2.34), perl:any, mail-transport-agent | postfix (<< 3), libblkid1 (= 2.38.1-5+deb12u3),\n init (>1)";
  expect(parseDependencies(field)).toEqual([
    [{ name: "libc6", relation: ">=", version: "2.34" }],
    [{ name: "perl" }],
    [{ name: "mail-transport-agent" }, { name: "postfix", relation: "<<", version: "3" }],
    [{ name: "libblkid1", relation: "=", version: "2.38.1-5+deb12u3" }],
    [{ name: "init", relation: ">=", version: "1" }],
  ]);
  const [[need = { name: "" }] = []] = parseDependencies("a (>> 1.0)");
  expect([undefined, "1.0", "1.0-1", "0.9"].map((version) => fitsDependency(version, need))).toEqual([
    false,
    false,
    true,
    false,
  ]);
  expect(fitsDependency(undefined, { name: "a" })).toBe(true);
});
