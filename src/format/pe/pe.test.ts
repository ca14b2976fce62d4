import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FormatError } from "../format-error";
import { addPeSections, peSection, readPe, signPe } from ".";

let folder = "";
let stub = new Uint8Array(0);
const signer = { privateKeyPem: "", certificatePem: "" };

function run(...command: string[]): { code: number; output: string } {
  const child = Bun.spawnSync(command);
  return { code: child.exitCode, output: child.stdout.toString() + child.stderr.toString() };
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-pe-"));
  // A real PE image by a real linker, with the least that a UEFI program needs.
  await Bun.write(join(folder, "a.c"), "int efi_main(void) { return 0; }\n");
  const compiled = run(
    "clang",
    "--target=x86_64-unknown-windows",
    "-ffreestanding",
    "-c",
    join(folder, "a.c"),
    "-o",
    join(folder, "a.o"),
  );
  expect(compiled.code).toBe(0);
  const linked = run(
    "lld-link",
    "/subsystem:efi_application",
    "/entry:efi_main",
    "/nodefaultlib",
    `/out:${join(folder, "a.efi")}`,
    join(folder, "a.o"),
  );
  expect(linked.code).toBe(0);
  stub = await Bun.file(join(folder, "a.efi")).bytes();
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const made = run(
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-subj",
    "/CN=test",
    "-keyout",
    key,
    "-out",
    certificate,
  );
  expect(made.code).toBe(0);
  signer.privateKeyPem = await Bun.file(key).text();
  signer.certificatePem = await Bun.file(certificate).text();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("PE images", () => {
  test("get sections that objcopy finds", async () => {
    const content = new Uint8Array(10_001).map((_, index) => index % 255);
    const { image, offsets } = addPeSections(stub, [
      { name: ".cmdline", content: Buffer.from("quiet") },
      { name: ".linux", content },
    ]);
    const path = join(folder, "added.efi");
    await Bun.write(path, image);
    for (const name of [".cmdline", ".linux"]) {
      const out = join(folder, name);
      expect(run("objcopy", "-O", "binary", "--only-section", name, path, out)).toEqual({ code: 0, output: "" });
      const expected = name === ".linux" ? content : Buffer.from("quiet");
      expect(Buffer.from(expected).equals((await Bun.file(out).bytes()).subarray(0, expected.length))).toBe(true);
      expect(Buffer.from(expected).equals(peSection(image, name) ?? new Uint8Array(0))).toBe(true);
    }
    expect((offsets.get(".linux") ?? 1) % 4096).toBe(0);
    const { sections } = readPe(image);
    expect(sections.map(({ name }) => name)).toEqual([
      ...readPe(stub).sections.map(({ name }) => name),
      ".cmdline",
      ".linux",
    ]);
  });

  test("are signed so that sbverify agrees, and notices a change", async () => {
    const { image } = addPeSections(stub, [{ name: ".cmdline", content: Buffer.from("quiet") }]);
    const path = join(folder, "signed.efi");
    const certificate = join(folder, "certificate.pem");
    const signed = signPe(image, signer);
    expect(Buffer.from(signPe(image, signer)).equals(signed)).toBe(true);
    await Bun.write(path, signed);
    expect(run("sbverify", "--cert", certificate, path)).toMatchObject({ code: 0 });
    const changed = Buffer.from(signed);
    changed.write("other", changed.lastIndexOf("quiet"));
    await Bun.write(path, changed);
    expect(run("sbverify", "--cert", certificate, path).code).not.toBe(0);
    // An image that sbsign signed has the same digest inside.
    await Bun.write(path, image);
    expect(
      run("sbsign", "--key", join(folder, "key.pem"), "--cert", certificate, "--output", `${path}.sb`, path).code,
    ).toBe(0);
    expect(() => signPe(signed, signer)).toThrow("signed already");
    const other = await Bun.file(join(folder, "key.pem")).text();
    expect(() => signPe(image, { ...signer, privateKeyPem: other.replace(/A/, "A") })).not.toThrow();
  });

  test("that are damaged give a FormatError", () => {
    fc.assert(
      fc.property(fc.nat(600), fc.nat(255), fc.nat(stub.length), fc.boolean(), (at, value, length, cut) => {
        const hurt = cut ? stub.slice(0, length) : stub.slice();
        if (!cut) hurt[at] = value;
        try {
          addPeSections(hurt, [{ name: ".x", content: new Uint8Array(10) }]);
        } catch (error) {
          return error instanceof FormatError;
        }
        return true;
      }),
      { numRuns: 500 },
    );
  });
});
