/**
 * govc, VMware's own command line client, against a lab. It is built from the Go module proxy into a cache outside of the repository at
 * the first run (needs a Go toolchain).
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const VERSION = "v0.46.0";
const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "vch-tests", `govc-${VERSION}`);
const GOVC = join(CACHE, "bin", "govc");
export const BUILD_MILLISECONDS = 10 * 60_000;

export async function buildGovc(): Promise<void> {
  if (existsSync(GOVC)) return;
  await Bun.$`go install github.com/vmware/govmomi/govc@${VERSION}`
    .env({ ...process.env, GOPATH: CACHE, GOFLAGS: "-modcacherw", CGO_ENABLED: "0" })
    .quiet();
}

export interface Govc {
  /** Standard output; rejects with what govc complains of. */
  (...words: string[]): Promise<string>;
  /** What govc complains of; rejects when it does not. */
  refused(...words: string[]): Promise<string>;
  /** Gives it a file to read. */
  input(file: Blob, ...words: string[]): Promise<string>;
  as(username: string, password: string): Govc;
}

/** @param directory where it works and keeps its sessions */
export function govcFor(
  url: string,
  directory: string,
  username = "administrator@vsphere.local",
  password = "secret",
): Govc {
  const run = async (
    words: string[],
    input: Blob = new Blob(),
  ): Promise<{ exitCode: number; out: string; error: string }> => {
    const { exitCode, stdout, stderr } = await Bun.$`${GOVC} ${words} < ${input}`
      .env({
        ...process.env,
        GOVC_URL: url,
        GOVC_USERNAME: username,
        GOVC_PASSWORD: password,
        GOVC_INSECURE: "1",
        GOVMOMI_HOME: join(directory, `govmomi-${username}`),
      })
      .cwd(directory)
      .quiet()
      .nothrow();
    return { exitCode, out: stdout.toString(), error: stderr.toString().trim() };
  };
  const govc = async (...words: string[]): Promise<string> => {
    const { exitCode, out, error } = await run(words);
    if (exitCode !== 0) throw new Error(`govc ${words.join(" ")}: ${error || out}`);
    return out;
  };
  return Object.assign(govc, {
    async refused(...words: string[]): Promise<string> {
      const { exitCode, out, error } = await run(words);
      if (exitCode === 0) throw new Error(`govc ${words.join(" ")} was not refused: ${out}`);
      return error || out;
    },
    async input(file: Blob, ...words: string[]): Promise<string> {
      const { exitCode, out, error } = await run(words, file);
      if (exitCode !== 0) throw new Error(`govc ${words.join(" ")}: ${error || out}`);
      return out;
    },
    as: (name: string, word: string) => govcFor(url, directory, name, word),
  });
}
