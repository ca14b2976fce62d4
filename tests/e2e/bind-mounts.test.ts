import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, image, inspect, removeContainers, run, uniqueName } from "./docker.ts";
import { kill, restart } from "./killing.ts";

/** One container with every kind of bind mount, and what users and hostile guests do with it. */

const name = uniqueName("binds");
const volume = uniqueName("nested");
const folder = realpathSync(mkdtempSync(join(tmpdir(), "vch-bind-mounts-")));
const shared = join(folder, "shared");
const secret = randomBytes(16).toString("hex");
const CLIENT = realpathSync(Bun.which("docker") ?? "/usr/bin/docker");
const SOCKET = ["-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", `${CLIENT}:/usr/bin/docker:ro`];

const exec = (script: string): Promise<string> => dockerOk("exec", name, "sh", "-c", script);

/** Runs a script with the docker CLI in a container. One that is linked dynamically needs libraries that busybox has not. */
const withClient = async (script: string): Promise<string> => {
  if ((await run(["ldd", CLIENT])).code !== 0) return await exec(script);
  await dockerOk("pull", "-q", image("debian"));
  return await dockerOk("run", "--rm", ...SOCKET, image("debian"), "sh", "-c", script);
};

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  mkdirSync(join(shared, "inner"), { recursive: true });
  writeFileSync(join(shared, "text"), "from the host\n");
  writeFileSync(join(folder, "single"), "one file\n");
  writeFileSync(join(folder, "passwd"), "root:x:0:0:root:/root:/bin/sh\nguest:x:1500:1501:guest:/:/bin/sh\n");
  writeFileSync(join(folder, "secret"), secret);
  // A name that busybox knows.
  symlinkSync("/bin/busybox", join(shared, "echo"));
  await dockerOk(
    ...["run", "-d", "--name", name, "-v", `${shared}:/x`, "-v", `${volume}:/x/volume`, "--tmpfs", "/x/memory"],
    ...["-v", `${folder}/single:/etc/single`, "-v", `${folder}/passwd:/etc/passwd:ro`],
    ...["--mount", `type=bind,source=${shared}/inner,destination=/read-only,readonly`, "-v", `${folder}/made:/made`],
    ...SOCKET,
    ...["-w", "/x/inner", BUSYBOX, "sh", "-c", "echo started > begun; sleep 100000"],
  );
});

afterAll(async () => {
  await removeContainers(name);
  await docker(["volume", "rm", "-f", volume]);
  rmSync(folder, { recursive: true, force: true });
});

test("files are the host's, in both directions, with owners, modes and links", async () => {
  expect(await exec("while [ ! -s /x/inner/begun ]; do sleep 0.1; done; pwd")).toBe("/x/inner");
  expect(readFileSync(join(shared, "inner/begun"), "utf8")).toBe("started\n");
  expect(await exec("cat /x/text; echo more >> /x/text; cat /etc/single; echo two >> /etc/single")).toBe(
    "from the host\none file",
  );
  expect(readFileSync(join(shared, "text"), "utf8")).toBe("from the host\nmore\n");
  expect(readFileSync(join(folder, "single"), "utf8")).toBe("one file\ntwo\n");
  await exec(
    "cd /x; mkdir d; echo a > d/a; chmod 640 d/a; chown 12:34 d/a; ln d/a hard; ln -s d/a soft; mv d e; cp /bin/busybox busybox; ./busybox true",
  );
  expect(lstatSync(join(shared, "hard"))).toMatchObject({ mode: 0o100640, uid: 12, gid: 34, nlink: 2 });
  expect(readdirSync(shared).sort()).toEqual(
    ["e", "echo", "hard", "inner", "memory", "busybox", "soft", "text", "volume"].sort(),
  );
  await exec("cd /x; rm -r e hard soft busybox");
  expect(existsSync(join(folder, "made"))).toBe(true);
});

test("a change of the host shows after a second", async () => {
  await exec("cat /x/text; ls /x");
  writeFileSync(join(shared, "text"), "changed by the host\n");
  writeFileSync(join(shared, "fresh"), "fresh\n");
  expect(await exec("cat /x/fresh; sleep 1.2; cat /x/text")).toBe("fresh\nchanged by the host");
});

test("volumes and tmpfs in a share are their own", async () => {
  await exec("echo v > /x/volume/v; echo m > /x/memory/m; grep -q ' /x fuse' /proc/mounts");
  expect([readdirSync(join(shared, "volume")), readdirSync(join(shared, "memory"))]).toEqual([[], []]);
  expect(await exec("cat /x/volume/v /x/memory/m")).toBe("v\nm");
});

test("read-only is enforced, and users come from a mounted passwd", async () => {
  const refused = await docker(["exec", name, "sh", "-c", "echo x > /read-only/f"]);
  expect(refused.stderr).toContain("Read-only file system");
  expect(await dockerOk("exec", "-u", "guest", name, "id", "-u")).toBe("1500");
  const denied = await docker(["exec", "-u", "guest", name, "sh", "-c", "echo x > /x/mine"]);
  expect(denied.stderr).toContain("Permission denied");
  expect(await dockerOk("top", name, "-o", "user,comm")).toContain("root");
});

test("symlinks lead to the container's own files, never to the host's", async () => {
  expect(await exec("/x/echo own")).toBe("own");
  const script = `cd /x; ln -s ${folder}/secret s; ln -s ../secret r; ln -s /proc/1/root/${folder}/secret p; cat s r p /x/../secret; true`;
  const escaped = await docker(["exec", "--privileged", name, "sh", "-c", script]);
  expect(escaped.code).toBe(0);
  expect(escaped.stdout + escaped.stderr).not.toContain(secret);
  expect(await exec("echo mine > /etc/shadow; ln -s /etc/shadow /x/shadow; cat /x/shadow")).toBe("mine");
  const device = await docker(["exec", "--privileged", name, "mknod", "/x/disk", "b", "8", "0"]);
  expect(device.stderr).toContain("not permitted");
  await exec("rm /x/s /x/r /x/p /x/shadow");
});

test("docker cp goes through it, and inspect tells of it", async () => {
  writeFileSync(join(folder, "in"), "copied in\n");
  await dockerOk("cp", join(folder, "in"), `${name}:/x/inner/copied`);
  expect(readFileSync(join(shared, "inner/copied"), "utf8")).toBe("copied in\n");
  await dockerOk("cp", `${name}:/x/inner/copied`, join(folder, "out"));
  expect(readFileSync(join(folder, "out"), "utf8")).toBe("copied in\n");
  const mounts = await inspect<{ Type: string; Destination: string }[]>(name, ".Mounts");
  const find = (destination: string) => mounts.find(({ Destination }) => Destination === destination);
  expect(find("/x")).toEqual({
    Type: "bind",
    Source: shared,
    Destination: "/x",
    Mode: "",
    RW: true,
    Propagation: "rprivate",
  } as never);
  expect(find("/read-only")).toMatchObject({ Type: "bind", Source: join(shared, "inner"), RW: false } as never);
});

const sha1 = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("hex");

test("64 MB are read whole, 16 MB are written, and many small files", async () => {
  const bytes = randomBytes(64 * 1024 * 1024);
  writeFileSync(join(shared, "big"), bytes);
  expect(await exec("sha1sum < /x/big; head -c 16777216 /x/big > /x/copy")).toStartWith(sha1(bytes));
  expect(sha1(readFileSync(join(shared, "copy")))).toBe(sha1(bytes.subarray(0, 16 * 1024 * 1024)));
  rmSync(join(shared, "big"));
  rmSync(join(shared, "copy"));
  expect(
    await exec("mkdir /x/many; cd /x/many; for i in $(seq 200); do echo $i > $i; done; cat * | wc -l; ls | wc -l"),
  ).toBe("200\n200");
  expect(readdirSync(join(shared, "many"))).toHaveLength(200);
  await exec("rm -r /x/many");
});

test("the Docker socket is the endpoint's, with its own CLI in the container", async () => {
  expect(await withClient("docker ps -q --no-trunc")).toContain(await inspect<string>(name, ".Id"));
  // A hijacked connection with an end of input in one direction.
  expect(await withClient(`echo through | docker exec -i ${name} cat`)).toBe("through");
});

test("the endpoint is killed: who is at work waits, and goes on when it is back", async () => {
  await exec(
    "cd /x; (exec 5>>log; while [ ! -e end ]; do echo line >&5 && echo line >> log2; sleep 0.1; done; echo finished > finished) > /dev/null 2>&1 &",
  );
  while (!existsSync(join(shared, "log2"))) await Bun.sleep(50);
  await kill("serve");
  await restart();
  expect(await exec("cat /x/text")).toBe("changed by the host");
  const before = readFileSync(join(shared, "log"), "utf8").length;
  while (readFileSync(join(shared, "log"), "utf8").length <= before + 10) await Bun.sleep(50);
  writeFileSync(join(shared, "end"), "");
  while (!existsSync(join(shared, "finished"))) await Bun.sleep(50);
  expect(await inspect<boolean>(name, ".State.Running")).toBe(true);
  expect(await withClient("docker ps -q --no-trunc")).toContain(await inspect<string>(name, ".Id"));
});

test("a stopped container has none; started again it has them all", async () => {
  await dockerOk("stop", "-t", "1", name);
  const refused = await docker(["cp", `${name}:/x/text`, "-"]);
  expect(refused.stderr).toContain("which only a running container has");
  rmSync(join(folder, "made"), { recursive: true });
  await dockerOk("start", name);
  expect(await exec("cat /x/text /x/volume/v; ls -A /made | wc -l")).toBe("changed by the host\nv\n0");
  await dockerOk("stop", "-t", "1", name);
});

const refusals: [title: string, options: string[], text: string][] = [
  [
    "a missing source of --mount",
    ["--mount", `type=bind,source=${folder}/nope,destination=/x`],
    `invalid mount config for type "bind": bind source path does not exist: ${folder}/nope`,
  ],
  ["a device", ["-v", "/dev/null:/x"], "Use --device"],
  ["propagation out of the container", ["-v", `${folder}:/x:rshared`], "stays in its own VM"],
  ["a place of the guest's own", ["-v", `${folder}:/proc`], "the container VM's own"],
  ["a bad option", ["-v", `${folder}:/x:wat`], "invalid mode: wat"],
];
test.each(refusals)("refused: %s", async (_title, options, text) => {
  const refused = await docker(["run", "--rm", ...options, BUSYBOX, "true"]);
  expect(refused.stderr).toContain(text);
  expect(refused.code).toBe(125);
});
