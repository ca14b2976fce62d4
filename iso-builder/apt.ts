/** Debian's package manager as a source of packages. Used for building only, never while a VCH runs. */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Architecture, type ArchitectureFacts, factsOf } from "./architecture";

/** Package files of a version go away some time after the next one came. */
const LISTS_AGE_MS = 24 * 60 * 60_000;
const COMMAND_TIMEOUT_MS = 10 * 60_000;

export class Apt {
  private constructor(
    readonly architecture: ArchitectureFacts,
    private readonly options: readonly string[],
  ) {}

  /**
   * apt for packages of an architecture. Where that is not this machine's own, it gets package lists of its own in the
   * cache: that needs no root and changes nothing on this machine. The signatures of the lists are checked as usual.
   */
  static async of(architecture: Architecture, cacheDirectory: string): Promise<Apt> {
    const facts = factsOf(architecture);
    const name = facts.debianName;
    if ((await run(["dpkg", "--print-architecture"])).trim() === name) return new Apt(facts, []);
    const folder = resolve(cacheDirectory, `apt-${name}`);
    const options = [
      `APT::Architecture=${name}`,
      `APT::Architectures=${name}`,
      `Dir::State::Lists=${folder}/lists`,
      `Dir::Cache=${folder}/cache`,
      "Dir::State::status=/dev/null",
      "APT::Sandbox::User=",
    ].flatMap((option) => ["-o", option]);
    const apt = new Apt(facts, options);
    const complete = Bun.file(`${folder}/complete`);
    if ((await complete.exists()) && Date.now() - complete.lastModified < LISTS_AGE_MS) return apt;
    // Made anew when they are old, or an earlier attempt was interrupted.
    await rm(folder, { recursive: true, force: true });
    for (const part of ["lists/partial", "cache/archives/partial"])
      await mkdir(join(folder, part), { recursive: true });
    await apt.get(["update", "-qq"]);
    await Bun.write(complete, "");
    return apt;
  }

  /** What `apt-cache` answers. */
  cache(command: readonly string[]): Promise<string> {
    return run(["apt-cache", ...this.options, ...command]);
  }

  /** Runs `apt-get` in a folder. */
  get(command: readonly string[], folder?: string): Promise<string> {
    return run(["apt-get", ...this.options, ...command], folder);
  }

  /** Fetches a package into an empty folder. @returns the file's name */
  async download(name: string, version: string, folder: string): Promise<string> {
    await this.get(["download", `${name}=${version}`], folder);
    const file = (await readdir(folder)).find((entry) => entry.endsWith(".deb"));
    if (file === undefined) throw new Error(`apt-get download ${name} gave no package`);
    return file;
  }
}

async function run(command: string[], cwd?: string): Promise<string> {
  const child = Bun.spawn(command, {
    ...(cwd !== undefined && { cwd }),
    env: { PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: COMMAND_TIMEOUT_MS,
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")} failed: ${errors.trim().split("\n").at(-1) ?? `code ${code}`}`);
  return output;
}
