import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AptConfiguration } from "./apt-configuration";
import { parseAptOptions } from "./apt-options";
import { parseOneLineSources, parseSources } from "./apt-sources";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-apt-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("options are those that apt-config reads", async () => {
  const text = `// a comment
/* another
   comment */
Acquire::Check-Valid-Until "false";
Acquire { Retries "3"; http { Proxy "http://proxy:3128"; Proxy::mirror.example.org DIRECT; }; };
APT::NeverAutoRemove { "^linux"; "^firmware"; };
Dir::Cache::pkgcache ""; # the rest
`;
  const file = join(folder, "apt.conf");
  await Bun.write(file, text);
  const dump = Bun.spawnSync(["apt-config", "dump"], { env: { APT_CONFIG: file, PATH: process.env.PATH ?? "" } });
  const theirs = new Map(
    [...dump.stdout.toString().matchAll(/^(\S+) "(.*)";$/gm)].map(([, name = "", value = ""]) => [
      name.toLowerCase(),
      value,
    ]),
  );
  const ours = parseAptOptions(text);
  expect(ours.size).toBe(5);
  for (const [name, value] of ours) expect([name, theirs.get(name)]).toEqual([name, value]);
});

test("proxies are taken by scheme and host", async () => {
  await Bun.write(
    join(folder, "apt.conf.d/proxy"),
    'Acquire::http::Proxy "http://proxy:3128";\nAcquire::http::Proxy::near "DIRECT";\n',
  );
  const { proxyFor } = await AptConfiguration.read(folder);
  expect(proxyFor(new URL("http://deb.debian.org/debian"))).toBe("http://proxy:3128");
  expect(proxyFor(new URL("https://deb.debian.org/debian"))).toBe("http://proxy:3128");
  expect(proxyFor(new URL("http://near/debian"))).toBeUndefined();
});

test("sources in one line", () => {
  const text = `# deb http://commented x main
deb http://deb.debian.org/debian bookworm main contrib # the rest
deb-src http://deb.debian.org/debian bookworm main
 deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg trusted=no ] https://x.org/apt stable main
deb file:/srv/packages ./
`;
  expect(parseOneLineSources(text)).toEqual([
    { uri: "http://deb.debian.org/debian", suite: "bookworm", components: ["main", "contrib"] },
    {
      uri: "https://x.org/apt",
      suite: "stable",
      components: ["main"],
      signedBy: ["/usr/share/keyrings/a.gpg"],
      architectures: ["amd64", "arm64"],
    },
    { uri: "file:/srv/packages", suite: "./", components: [] },
  ]);
});

test("sources in paragraphs", () => {
  const text = `# Debian
Types: deb deb-src
# http://snapshot.debian.org
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://sources
Suites: a
Components: main

Enabled: no
Types: deb
URIs: http://disabled
Suites: a
Components: main

Types: deb
URIs: https://x.org
Suites: ./
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----
`;
  const debian = {
    uri: "http://deb.debian.org/debian",
    components: ["main"],
    signedBy: ["/usr/share/keyrings/debian-archive-keyring.gpg"],
  };
  expect(parseSources(text)).toEqual([
    { ...debian, suite: "bookworm" },
    { ...debian, suite: "bookworm-updates" },
    {
      uri: "https://x.org",
      suite: "./",
      components: [],
      signedBy: ["-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----"],
    },
  ]);
});
