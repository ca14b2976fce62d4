import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../src/format/rpm/testing/build-rpm";
import { debianDependencies, fetchDebianPackages } from "../packages";

/** An archive made by dpkg-deb and signed by gpg; apt itself is the oracle. */
let folder = "";
let archive = "";
let apt = "";
let server: ReturnType<typeof Bun.serve>;
const requests: string[] = [];
const SUITE = "testing";

async function gpg(...command: string[]): Promise<string> {
  const environment = { GNUPGHOME: join(folder, "gnupg") };
  const output = await run(["gpg", "--batch", "--quiet", "--yes", ...command], environment);
  // The agent would outlive the test.
  await run(["gpgconf", "--kill", "all"], environment);
  return output;
}

async function makePackage(name: string, version: string, fields = ""): Promise<string> {
  const top = join(folder, "build", `${name}-${version}`);
  await mkdir(join(top, "DEBIAN"), { recursive: true });
  const control = `Package: ${name}\nVersion: ${version}\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: d\n${fields}`;
  await Bun.write(join(top, "DEBIAN/control"), control);
  const file = `pool/${name}_${version.replaceAll(":", "-")}_amd64.deb`;
  await mkdir(join(archive, "pool"), { recursive: true });
  await run(["dpkg-deb", "--root-owner-group", "-b", top, join(archive, file)]);
  const bytes = await Bun.file(join(archive, file)).bytes();
  return `${control}Filename: ${file}\nSize: ${bytes.length}\nSHA256: ${sha256(bytes)}\n`;
}

const sha256 = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** Writes lists and their signed list. */
async function publish(top: string, paragraphs: readonly string[], head = ""): Promise<void> {
  const below = join(top, "dists", SUITE);
  const list = Buffer.from(`${paragraphs.join("\n")}\n`);
  const files = { "main/binary-amd64/Packages": list, "main/binary-amd64/Packages.gz": Bun.gzipSync(list) };
  const lines = Object.entries(files).map(([path, bytes]) => ` ${sha256(bytes)} ${bytes.length} ${path}`);
  for (const [path, bytes] of Object.entries(files)) await Bun.write(join(below, path), bytes);
  const date = new Date().toUTCString();
  const release = `Origin: T\nSuite: ${SUITE}\nCodename: test\nDate: ${date}\nArchitectures: amd64\nComponents: main\n${head}SHA256:\n${lines.join("\n")}\n`;
  await Bun.write(join(below, "Release"), release);
  await gpg("--clearsign", "--output", join(below, "InRelease"), join(below, "Release"));
}

/** An apt configuration with one source. */
async function configure(name: string, top: string, keyFile = join(folder, "key.asc"), more = ""): Promise<string> {
  const made = join(folder, name);
  await Bun.write(
    join(made, "sources.list.d/test.sources"),
    `# a comment\nTypes: deb deb-src\nURIs: http://127.0.0.1:${server.port}/${top}\nSuites: ${SUITE}\nComponents: main\nSigned-By: ${keyFile}\n\nEnabled: no\nTypes: deb\nURIs: http://disabled.invalid\nSuites: x\nComponents: y\n`,
  );
  await Bun.write(join(made, "apt.conf.d/10test"), more);
  return made;
}

let paragraphs: string[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-debian-"));
  archive = join(folder, "web/archive");
  await mkdir(join(folder, "gnupg"), { recursive: true, mode: 0o700 });
  await gpg("--passphrase", "", "--quick-generate-key", "Test <test@example.org>", "rsa3072", "sign", "never");
  await Bun.write(join(folder, "key.asc"), await gpg("--armor", "--export"));
  paragraphs = [
    await makePackage("tool", "1:2.0-1", "Depends: lib-a (>= 2), missing | lib-b (<< 9), virtual-shell, dpkg\n"),
    await makePackage("tool", "1.9-1"),
    await makePackage("lib-a", "2.0~rc1", "Pre-Depends: lib-b\n"),
    await makePackage("lib-a", "2.0"),
    await makePackage("lib-b", "3", "Depends: lib-a\n"),
    await makePackage("lib-b", "9"),
    await makePackage("shell", "5", "Provides: virtual-shell, sh-like (= 5)\n"),
    await makePackage("linux-image-cloud-amd64", "6.1", "Depends: linux-image-6.1.0-9-cloud-amd64 (= 6.1)\n"),
    await makePackage("linux-image-6.1.0-9-cloud-amd64", "6.1"),
    await makePackage("broken", "1", "Depends: nowhere\n"),
  ];
  await publish(archive, paragraphs);
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      requests.push(pathname);
      const file = Bun.file(join(folder, "web", decodeURIComponent(pathname)));
      return (await file.exists()) ? new Response(file) : new Response("", { status: 404 });
    },
  });
  apt = await configure("apt", "archive");
});
afterAll(async () => {
  await server.stop(true);
  await rm(folder, { recursive: true, force: true });
});

const cache = (name: string): string => join(folder, "cache", name);
const fetched = async (name: string, packages: readonly string[], configurationFolder = apt) =>
  (await fetchDebianPackages(cache(name), packages, "x86_64", { configurationFolder })).map(({ path }) =>
    path.slice(path.lastIndexOf("/") + 1),
  );

test("packages are those that apt would take, and are fetched once", async () => {
  const names = ["tool", "lib-a", "virtual-shell", "linux-image-cloud-amd64"];
  const files = [
    "tool_1%3a2.0-1_amd64.deb",
    "lib-a_2.0_amd64.deb",
    "shell_5_amd64.deb",
    "linux-image-6.1.0-9-cloud-amd64_6.1_amd64.deb",
  ];
  expect(await fetched("once", names)).toEqual(files);
  requests.length = 0;
  expect(await fetched("once", names)).toEqual(files);
  expect(requests).toEqual([]);
  // A file that was damaged in the cache is not taken.
  const content = await Bun.file(join(cache("once"), files[1] ?? "")).bytes();
  await Bun.write(join(cache("once"), files[1] ?? ""), "damaged");
  await fetched("once", ["lib-a"]);
  expect(await Bun.file(join(cache("once"), files[1] ?? "")).bytes()).toEqual(content);
  // The oracle.
  const state = join(folder, "apt-state");
  for (const part of ["lists/partial", "cache/archives/partial"]) await mkdir(join(state, part), { recursive: true });
  const options = [
    "APT::Architecture=amd64",
    "APT::Architectures=amd64",
    "APT::Sandbox::User=",
    "Dir::State::status=/dev/null",
  ]
    .concat([`Dir::State::Lists=${state}/lists`, `Dir::Cache=${state}/cache`, "Dir::Etc::sourcelist=/dev/null"])
    .concat([`Dir::Etc::sourceparts=${apt}/sources.list.d`, "Dir::Etc::preferencesparts=/dev/null"])
    .flatMap((option) => ["-o", option]);
  await run(["apt-get", ...options, "update", "-qq"]);
  const theirs = await run(["apt-cache", ...options, "policy", "tool", "lib-a", "lib-b"]);
  expect([...theirs.matchAll(/Candidate: (\S+)/g)].map(([, version]) => version)).toEqual(["1:2.0-1", "2.0", "9"]);
});

test("dependencies: versions, alternatives, virtual packages, cycles, and what an image does not need", async () => {
  const needed = (names: string[]) => debianDependencies(cache("deps"), names, "x86_64", { configurationFolder: apt });
  expect(await needed(["tool"])).toEqual(["lib-a", "lib-b", "shell", "tool"]);
  await expect(needed(["broken"])).rejects.toThrow("no package is nowhere, which broken needs");
  await expect(needed(["nothing"])).rejects.toThrow("have no package nothing");
  await expect(needed(["../x"])).rejects.toThrow("is not the name of a Debian package");
});

describe("an archive is refused", () => {
  const copy = async (name: string): Promise<string> => {
    await cp(archive, join(folder, "web", name), { recursive: true });
    return join(folder, "web", name);
  };
  const inRelease = (top: string): string => join(top, "dists", SUITE, "InRelease");

  test("whose list of lists was changed, is signed by nobody or by another key", async () => {
    const top = await copy("changed");
    const text = await Bun.file(inRelease(top)).text();
    await Bun.write(inRelease(top), text.replace("Origin: T", "Origin: U"));
    await expect(fetched("changed", ["tool"], await configure("apt-changed", "changed"))).rejects.toThrow(
      /not signed by a known key/,
    );
    await Bun.write(inRelease(top), await Bun.file(join(top, "dists", SUITE, "Release")).text());
    await expect(fetched("changed", ["tool"], await configure("apt-changed", "changed"))).rejects.toThrow(
      "not a signed text",
    );
    // What stands around the signed text is not read: a list of the attacker's before it changes nothing.
    await Bun.write(inRelease(top), `SHA256:\n ${"0".repeat(64)} 1 main/binary-amd64/Packages.xz\n\n${text}`);
    expect(await fetched("around", ["tool"], await configure("apt-changed", "changed"))).toHaveLength(1);
    const other = "/usr/share/keyrings/debian-archive-keyring.gpg";
    await expect(fetched("other", ["tool"], await configure("apt-other", "archive", other))).rejects.toThrow(
      /not signed by a known key/,
    );
  });

  test("whose lists or packages were changed", async () => {
    const top = await copy("lists");
    const list = join(top, "dists", SUITE, "main/binary-amd64/Packages.gz");
    const bytes = await Bun.file(list).bytes();
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    await Bun.write(list, bytes);
    await expect(fetched("lists", ["tool"], await configure("apt-lists", "lists"))).rejects.toThrow(
      "does not fit its sha256 checksum",
    );
    const hurt = await copy("packages");
    for (const file of await readdir(join(hurt, "pool"))) {
      const deb = await Bun.file(join(hurt, "pool", file)).bytes();
      deb[100] = (deb[100] ?? 0) ^ 1;
      await Bun.write(join(hurt, "pool", file), deb);
    }
    await expect(fetched("packages", ["tool"], await configure("apt-packages", "packages"))).rejects.toThrow(
      "does not fit its sha256 checksum",
    );
    expect((await readdir(cache("packages"))).filter((name) => name !== "lists")).toEqual([]);
  });

  test("whose lists are past their time, unless apt is told not to mind, or are another distribution's", async () => {
    const old = join(folder, "web/old");
    await cp(join(archive, "pool"), join(old, "pool"), { recursive: true });
    await publish(old, paragraphs, "Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n");
    await expect(fetched("old", ["tool"], await configure("apt-old", "old"))).rejects.toThrow(
      "were valid until Sat, 01 Jan 2022",
    );
    const lenient = 'Acquire { Check-Valid-Until "false"; };';
    expect(await fetched("old", ["tool"], await configure("apt-old", "old", undefined, lenient))).toHaveLength(1);
    const renamed = join(folder, "web/renamed");
    await cp(archive, renamed, { recursive: true });
    await cp(join(renamed, "dists", SUITE), join(renamed, "dists/stable"), { recursive: true });
    const configuration = await configure("apt-renamed", "renamed");
    const sources = join(configuration, "sources.list.d/test.sources");
    await Bun.write(sources, (await Bun.file(sources).text()).replace(`Suites: ${SUITE}`, "Suites: stable"));
    await expect(fetched("renamed", ["tool"], configuration)).rejects.toThrow(
      "its lists are those of testing and test",
    );
  });
});

test("a source that cannot be read is left out, and lists that name what is gone are fetched anew", async () => {
  const top = join(folder, "web/moving");
  await cp(archive, top, { recursive: true });
  const configuration = await configure("apt-moving", "moving");
  await Bun.write(
    join(configuration, "sources.list"),
    `deb [arch=amd64 signed-by=${folder}/key.asc] http://127.0.0.1:${server.port}/nowhere x main # gone\ndeb cdrom:[x]/ y main\n`,
  );
  const said: string[] = [];
  const log = { configurationFolder: configuration, log: (line: string) => void said.push(line) };
  expect(await fetchDebianPackages(cache("moving"), ["shell"], "x86_64", log)).toHaveLength(1);
  expect(said.filter((line) => line.includes("it is left out"))).toHaveLength(2);
  await rm(join(top, "pool/lib-a_2.0_amd64.deb"));
  const newer = (await makePackage("lib-a", "2.1")).replace("pool/", "pool/");
  await cp(join(archive, "pool/lib-a_2.1_amd64.deb"), join(top, "pool/lib-a_2.1_amd64.deb"));
  await publish(top, [...paragraphs, newer]);
  expect(await fetched("moving", ["lib-a"], configuration)).toEqual(["lib-a_2.1_amd64.deb"]);
  // Without a network the kept lists do.
  const down = await configure("apt-down", "moving");
  const old = new Date(Date.now() - 3 * 24 * 3600_000);
  for (const name of await readdir(join(cache("moving"), "lists")))
    await run(["touch", "-d", old.toISOString(), join(cache("moving"), "lists", name)]);
  await rm(top, { recursive: true });
  expect(await fetched("moving", ["lib-a"], down)).toEqual(["lib-a_2.1_amd64.deb"]);
});
