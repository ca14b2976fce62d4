import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fetchDebianPackages } from "../../iso-builder/packages.ts";
import { readDeb } from "../format/deb/reader.ts";
import { type TarMember, writeTar } from "../format/tar/index.ts";
import { dockerGet, dockerPost } from "./docker-client.ts";
import type { StatePaths } from "./paths.ts";

/** The distribution package that the sample image is made of: one static program. */
const PACKAGE = "busybox-static";
/** A static busybox has about 2 MB; more than this is not one. */
const MAX_PROGRAM_BYTES = 16 * 2 ** 20;
const IMAGE = "busybox";
const CHANGES = ['CMD ["sh"]', "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/** Takes the busybox program out of its package. */
async function readProgram(debFile: string): Promise<Uint8Array> {
  for await (const { header, body } of readDeb(Bun.file(debFile).stream(), () => undefined)) {
    if (header.type !== "file" || !/^(\.\/)?(usr\/)?bin\/busybox$/.test(header.name)) continue;
    if (header.size > MAX_PROGRAM_BYTES) throw new Error(`${debFile}: ${header.name} has ${header.size} bytes`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk.slice());
    return Buffer.concat(chunks);
  }
  throw new Error(`${debFile} holds no busybox program`);
}

/** The paths under which the program wants to be linked, as it says itself. */
async function appletPaths(program: Uint8Array): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), "vch-busybox-"));
  try {
    const file = join(folder, "busybox");
    await writeFile(file, program);
    await chmod(file, 0o755);
    const listed = Bun.spawnSync([file, "--list-full"]);
    return listed.stdout
      .toString()
      .split("\n")
      .filter((path) => /^[\w./[+-]+$/.test(path) && path !== "bin/busybox");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const directory = (name: string, mode = 0o755): TarMember => ({
  header: { name: `${name}/`, type: "directory", mode },
});

function textFile(name: string, text: string): TarMember {
  const bytes = Buffer.from(text);
  return { header: { name, type: "file", size: bytes.length, mode: 0o644 }, body: [bytes] };
}

/** A root filesystem around busybox, member by member. */
function* rootFilesystem(program: Uint8Array, applets: string[]): Generator<TarMember> {
  for (const name of [
    "bin",
    "sbin",
    "etc",
    "dev",
    "proc",
    "sys",
    "run",
    "home",
    "usr",
    "usr/bin",
    "usr/sbin",
    "var",
    "var/log",
  ])
    yield directory(name);
  yield directory("root", 0o700);
  yield directory("tmp", 0o1777);
  yield { header: { name: "bin/busybox", type: "file", size: program.length, mode: 0o755 }, body: [program] };
  for (const applet of applets)
    yield { header: { name: applet, type: "symlink", linkName: "/bin/busybox", mode: 0o777 } };
  yield textFile(
    "etc/passwd",
    "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
  );
  yield textFile("etc/group", "root:x:0:\ndaemon:x:1:\nusers:x:100:\nnogroup:x:65534:\n");
}

/**
 * Imports the image `busybox`, made from the distribution's static busybox, so that a first container can run without any
 * registry. Does nothing when the endpoint has an image already.
 */
export async function importSampleImage(paths: StatePaths, say: (line: string) => void): Promise<void> {
  if ((await dockerGet<unknown[]>(paths, "/images/json")).length > 0) return;
  const [fetched] = await fetchDebianPackages(paths.packages, [PACKAGE]);
  const deb = fetched?.path;
  if (deb === undefined) throw new Error(`The package ${PACKAGE} could not be found.`);
  const program = await readProgram(deb);
  const query = new URLSearchParams({
    fromSrc: "-",
    repo: IMAGE,
    tag: "latest",
    message: `made of Debian's ${PACKAGE}`,
  });
  for (const change of CHANGES) query.append("changes", change);
  const members = writeTar(rootFilesystem(program, await appletPaths(program)));
  const answer = await dockerPost(paths, `/images/create?${query}`, members);
  const failure = answer.split("\n").find((line) => line.includes('"error"'));
  if (failure !== undefined) throw new Error(`Importing the sample image failed: ${failure}`);
  say(`Imported the image ${IMAGE}:latest, made of Debian's ${PACKAGE}`);
}
