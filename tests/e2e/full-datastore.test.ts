/** A VCH of its own. A datastore without space: what needs some fails with Docker's words and leaves nothing, what runs waits, and all goes on later. At last, what is left of it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, statfs, truncate } from "node:fs/promises";
import { join } from "node:path";
import { docker as dockerCommand, image, type Result, run, STATE } from "./docker.ts";
import { leftovers } from "./leftovers.ts";

const MEBIBYTE = 1024 * 1024;
/** The VCH's own bootstrap ISO takes a third of it. */
const DATASTORE = 500 * MEBIBYTE;
/** Booting VMs write logs and descriptions; what is written here is larger. */
const LITTLE = 12 * MEBIBYTE;
const PAYLOAD = 64 * MEBIBYTE;
const IMAGE = image("debian");
const LIMIT_MILLISECONDS = 400_000;

let state = "";
/** The datastore, which is mounted in the lab's mount namespace only. */
let datastore = "";

const docker = (...command: string[]): Promise<Result> =>
  dockerCommand(command, {
    environment: {
      DOCKER_HOST: `unix://${join(state, "run/docker.sock")}`,
      DOCKER_TLS_VERIFY: "",
      DOCKER_CERT_PATH: "",
    },
    timeoutMilliseconds: LIMIT_MILLISECONDS,
  });

async function ok(...command: string[]): Promise<string> {
  const result = await docker(...command);
  expect(result, command.join(" ")).toMatchObject({ code: 0 });
  return result.stdout.trim();
}

/** Takes all space but `left` bytes. */
async function fill(left: number): Promise<void> {
  const file = join(datastore, "ballast");
  const handle = await open(file, "w");
  let size = 0;
  try {
    const block = Buffer.alloc(MEBIBYTE, 1);
    for (;;) size += (await handle.write(block)).bytesWritten;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
  } finally {
    await handle.close();
  }
  if (left > 0) await truncate(file, Math.max(0, size - left));
}

const free = (): Promise<void> => rm(join(datastore, "ballast"), { force: true });
const freeBytes = async (): Promise<number> => {
  const { bavail, bsize } = await statfs(datastore);
  return bavail * bsize;
};
const files = async (): Promise<string[]> =>
  (await readdir(join(datastore, "vch/full"), { recursive: true }))
    .filter((file) => !/\.(log|json)$/.test(file))
    .sort();

async function refusedForSpace(...command: string[]): Promise<void> {
  const result = await docker(...command);
  expect(result.code, command.join(" ")).not.toBe(0);
  expect(result.stderr).toContain("no space left on device");
}

beforeAll(async () => {
  state = await mkdtemp("/var/tmp/vch-full-");
  const mountPoint = join(state, "lab/datastore1");
  await mkdir(mountPoint, { recursive: true });
  await cp(join(STATE, "packages"), join(state, "packages"), { recursive: true });
  const script = `mount -t tmpfs -o size=${DATASTORE} datastore "$1" && exec dist/vch up --state "$2" --name full --listen 127.0.0.1:23770 --lab-listen 127.0.0.1:18990`;
  const up = await run(["unshare", "-m", "sh", "-c", script, "sh", mountPoint, state], {
    timeoutMilliseconds: LIMIT_MILLISECONDS,
  });
  expect(up).toMatchObject({ code: 0 });
  const { pid } = JSON.parse(await readFile(join(state, "run/lab.json"), "utf8")) as { pid: number };
  datastore = `/proc/${pid}/root${mountPoint}`;
}, LIMIT_MILLISECONDS);

afterAll(async () => {
  await run(["dist/vch", "down", "--state", state, "--delete"], { timeoutMilliseconds: LIMIT_MILLISECONDS });
  await rm(state, { recursive: true, force: true });
}, LIMIT_MILLISECONDS);

test(
  "a running container waits for space and goes on",
  async () => {
    await ok("run", "-d", "--name", "writer", "--network", "none", "busybox", "sleep", "3600");
    await fill(LITTLE);
    const count = PAYLOAD / MEBIBYTE;
    const written = docker(
      ...[
        "exec",
        "writer",
        "sh",
        "-c",
        `yes | dd of=/file bs=1M count=${count} iflag=fullblock conv=fsync 2>&1; md5sum </file`,
      ],
    );
    while ((await freeBytes()) > MEBIBYTE / 2) await Bun.sleep(200);
    const outcome = await Promise.race([written, Bun.sleep(5000).then(() => "waits")]);
    expect(outcome).toBe("waits");
    await free();
    const result = await written;
    expect(result).toMatchObject({ code: 0 });
    const md5 = new Bun.CryptoHasher("md5").update(Buffer.alloc(PAYLOAD, "y\n")).digest("hex");
    expect(result.stdout).toContain(md5);
    await ok("rm", "-f", "writer");
  },
  LIMIT_MILLISECONDS,
);

test(
  "what needs a little more than there is fails and leaves nothing",
  async () => {
    await ok("create", "--name", "target", "--network", "none", "busybox", "true");
    const source = join(state, "payload");
    await Bun.write(source, Buffer.alloc(PAYLOAD, 7));
    const before = await files();
    await fill(LITTLE);
    await refusedForSpace("cp", source, "target:/payload");
    await refusedForSpace("pull", "-q", IMAGE);
    await free();
    expect((await docker("image", "inspect", IMAGE)).code).not.toBe(0);
    // What the failed ones made is removed in the background, with the loader VM that held it.
    const deadline = Date.now() + LIMIT_MILLISECONDS / 4;
    const left = async () => (await files()).filter((file) => !before.includes(file));
    while ((await left()).length > 0 && Date.now() < deadline) await Bun.sleep(500);
    expect(await left()).toEqual([]);
    await ok("cp", source, "target:/payload");
    await ok("pull", "-q", IMAGE);
    expect(await ok("run", "--rm", "--network", "none", IMAGE, "cat", "/etc/hostname")).not.toBe("");
    await ok("rm", "target");
    await ok("rmi", IMAGE);
  },
  LIMIT_MILLISECONDS,
);

test(
  "without any space nothing is made, and all is there still",
  async () => {
    const before = await files();
    await fill(0);
    await refusedForSpace("volume", "create", "vol");
    await refusedForSpace("create", "--name", "refused", "busybox", "true");
    expect(await ok("volume", "ls", "-q")).toBe("");
    expect(await ok("ps", "-aq")).toBe("");
    expect(await ok("images", "-q")).not.toBe("");
    await free();
    await ok("volume", "create", "vol");
    await ok("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "echo there >/v/file");
    expect(await ok("run", "--rm", "-v", "vol:/v", "busybox", "cat", "/v/file")).toBe("there");
    await ok("volume", "rm", "vol");
    expect((await files()).filter((file) => !before.includes(file) && !file.includes("loader"))).toEqual([]);
  },
  LIMIT_MILLISECONDS,
);

test(
  "vch down leaves nothing behind, also when lab and endpoint were killed",
  async () => {
    await ok("network", "create", "own");
    await ok(
      "run",
      "-d",
      "--name",
      "left",
      "--network",
      "own",
      "-p",
      "127.0.0.1:23771:80",
      "--cpus",
      "0.5",
      "busybox",
      "sleep",
      "3600",
    );
    expect(await leftovers(state, "full")).not.toEqual([]);
    for (const name of ["serve", "lab"]) {
      const { pid } = JSON.parse(await readFile(join(state, `run/${name}.json`), "utf8")) as { pid: number };
      process.kill(pid, "SIGKILL");
    }
    const down = await run(["dist/vch", "down", "--state", state], { timeoutMilliseconds: LIMIT_MILLISECONDS });
    expect(down).toMatchObject({ code: 0 });
    expect(await leftovers(state, "full")).toEqual([]);
    const again = await run(["dist/vch", "down", "--state", state], { timeoutMilliseconds: LIMIT_MILLISECONDS });
    expect(again).toMatchObject({ code: 0 });
  },
  LIMIT_MILLISECONDS,
);
