import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";

/** What a test's package is to be. */
export interface TestPackage {
  name: string;
  version?: string;
  release?: string;
  architecture?: string;
  /** RPM's name of the payload's compression: `w6.gzdio`, `w19.zstdio`, `w6.xzdio`, `w6.lzdio`. */
  payload?: string;
  /** A folder whose content becomes the package's files. */
  root: string;
  /** Further lines of the spec file's head, such as `Requires: glibc`. */
  head?: string[];
}

/** Runs a program and gives what it printed. @throws Error with what it complained about */
export async function run(
  command: string[],
  environment: Record<string, string> = {},
  stdin?: Uint8Array,
): Promise<string> {
  const child = Bun.spawn(command, {
    env: { ...process.env, LC_ALL: "C.UTF-8", ...environment },
    stdin: stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  return output;
}

/** Builds a package with the real rpmbuild. @returns its path in `folder` */
export async function buildRpm(folder: string, options: TestPackage): Promise<string> {
  const { name, version = "1.0", release = "1.ph5", architecture = "x86_64", payload = "w6.gzdio" } = options;
  const top = join(folder, `${name}-${version}-${release}.build`);
  await mkdir(top, { recursive: true });
  const spec = join(top, `${name}.spec`);
  const lines = [
    `Name: ${name}`,
    `Version: ${version}`,
    `Release: ${release}`,
    "Summary: test",
    "License: none",
    "AutoReqProv: no",
    ...(options.head ?? []),
    "%description",
    "test",
    "%install",
    `mkdir -p %{buildroot} && cp -a ${options.root}/. %{buildroot}/`,
    "%files",
    "/*",
  ];
  await Bun.write(spec, `${lines.join("\n")}\n`);
  const defines = {
    _topdir: top,
    _binary_payload: payload,
    _build_id_links: "none",
    __os_install_post: "%{nil}",
    debug_package: "%{nil}",
    _buildhost: "test",
    _source_filedigest_algorithm: "8",
    _binary_filedigest_algorithm: "8",
  };
  const flags = Object.entries(defines).flatMap(([key, value]) => ["--define", `${key} ${value}`]);
  await run(["rpmbuild", "-bb", "--quiet", "--nodeps", "--target", `${architecture}-linux`, ...flags, spec]);
  const [file] = await readdir(join(top, "RPMS", architecture));
  if (file === undefined) throw new Error("rpmbuild made no package");
  await rename(join(top, "RPMS", architecture, file), join(folder, file));
  return join(folder, file);
}

/** A fresh OpenPGP key in a GnuPG home of its own. */
export async function makeSigningKey(home: string): Promise<{ publicKey: string; sign(file: string): Promise<void> }> {
  await mkdir(home, { recursive: true, mode: 0o700 });
  const environment = { GNUPGHOME: home };
  const gpg = ["gpg", "--batch", "--quiet"];
  await run(
    [...gpg, "--passphrase", "", "--quick-generate-key", "Test <test@example.org>", "rsa3072", "sign", "never"],
    environment,
  );
  return {
    publicKey: await run([...gpg, "--armor", "--export"], environment),
    sign: async (file) => {
      await run(
        ["rpmsign", "--define", "_gpg_name test@example.org", "--define", "__gpg /usr/bin/gpg", "--addsign", file],
        environment,
      );
      // The agent would outlive the test.
      await run(["gpgconf", "--kill", "all"], environment);
    },
  };
}
