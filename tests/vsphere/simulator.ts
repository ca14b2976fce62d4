/** govmomi's vCenter simulator: an independent server to check the driver against. Built once by install-vcsim.sh. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";

const SOURCE = join(import.meta.dir, "vcsim");

export interface Simulator {
  url: string;
  fingerprint: string;
  pid: number;
  stop(): Promise<void>;
}

/** One binary for each state of the program's source. */
function binary(): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const name of readdirSync(SOURCE).sort()) hash.update(readFileSync(join(SOURCE, name)));
  return join(import.meta.dir, "../../.tools/vcsim", hash.digest("hex").slice(0, 16));
}

/** Why the simulator cannot be used here; undefined when it can. */
export async function simulatorMissing(): Promise<string | undefined> {
  const path = binary();
  if (await Bun.file(path).exists()) return undefined;
  if (!Bun.which("go")) return "Go is missing: it builds govmomi's vcsim";
  const build = Bun.spawn(["sh", join(import.meta.dir, "install-vcsim.sh"), path], { stdout: "pipe", stderr: "pipe" });
  if ((await build.exited) === 0) return undefined;
  return `vcsim could not be built: ${await new Response(build.stderr).text()}`;
}

/** Options are those of vcsim/main.go. */
export async function startSimulator(...options: string[]): Promise<Simulator> {
  const missing = await simulatorMissing();
  if (missing !== undefined) throw new Error(missing);
  const child = Bun.spawn([binary(), ...options], { stdin: "pipe", stdout: "pipe", stderr: "ignore" });
  const reader = child.stdout.getReader();
  const line = new TextDecoder().decode((await reader.read()).value).trim();
  reader.releaseLock();
  const url = new URL(line);
  url.username = "";
  url.password = "";
  return {
    url: url.href,
    fingerprint: await fingerprintOf(url),
    pid: child.pid,
    async stop() {
      // It removes its files then.
      child.stdin.end();
      await child.exited;
    },
  };
}

function fingerprintOf(url: URL): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: url.hostname, port: Number(url.port), rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate();
      socket.end();
      resolve(new Bun.CryptoHasher("sha256").update(raw).digest("hex"));
    });
    socket.on("error", reject);
  });
}
