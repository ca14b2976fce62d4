/** Real registries for tests: Debian's docker-registry on loopback, filled by skopeo. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", timeout: 60_000 });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}

export interface Registry {
  /** host:port */
  address: string;
  stop(): Promise<void>;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** @param auth the `auth` section of the registry's configuration; DIRECTORY in it is a folder of the registry's own */
export async function startRegistry(auth = "", host = "127.0.0.1"): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), "vch-registry-"));
  const address = `${host}:${await freePort()}`;
  const configuration = `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: ${directory}/data } }
http: { addr: "${address}" }
${auth.replaceAll("DIRECTORY", directory)}`;
  writeFileSync(join(directory, "config.yml"), configuration);
  if (auth.includes("htpasswd")) {
    writeFileSync(join(directory, "htpasswd"), await run("htpasswd", "-Bbn", "alice", "secret"));
  }
  const child = Bun.spawn(["docker-registry", "serve", join(directory, "config.yml")], {
    stdout: "ignore",
    stderr: "ignore",
  });
  for (let attempt = 0; attempt < 100; attempt++) {
    const up = await fetch(`http://${address}/v2/`).then(
      () => true,
      () => false,
    );
    if (up) break;
    await Bun.sleep(50);
  }
  return {
    address,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** An OCI layout with one image `name` of these layers (file name → content, one layer each). */
export async function makeLayout(
  directory: string,
  layers: Record<string, string>[],
  config: Record<string, unknown> = {},
  architecture = "amd64",
): Promise<void> {
  await run("umoci", "init", "--layout", directory);
  await run("umoci", "new", "--image", `${directory}:latest`);
  for (const [index, files] of layers.entries()) {
    const tar = join(directory, `layer-${index}.tar`);
    const tree = mkdtempSync(join(tmpdir(), "vch-layer-"));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(tree, name), content);
    await run("tar", "-C", tree, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf", tar, ".");
    await run("umoci", "raw", "add-layer", "--image", `${directory}:latest`, tar);
    rmSync(tree, { recursive: true });
    rmSync(tar);
  }
  const flags = Object.entries(config).flatMap(([name, value]) => [`--config.${name}`, String(value)]);
  await run(
    "umoci",
    "config",
    "--image",
    `${directory}:latest`,
    "--architecture",
    architecture,
    "--os",
    "linux",
    ...flags,
  );
}
