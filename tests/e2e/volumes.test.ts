import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, image, inspect, removeContainers, run, uniqueName } from "./docker.ts";

const volume = uniqueName("vol");

beforeAll(async () => {
  for (const name of ["busybox", "nonroot"]) await dockerOk("pull", "-q", image(name));
  expect(await dockerOk("volume", "create", "--label", "purpose=test", volume)).toBe(volume);
});

afterAll(async () => {
  await docker(["volume", "rm", "-f", volume]);
});

test("a named volume outlives its containers and holds no lost+found", async () => {
  await dockerOk(
    "run",
    "--rm",
    "-v",
    `${volume}:/data`,
    BUSYBOX,
    "sh",
    "-c",
    "ls -a /data | grep -v '^\\.' ; echo kept >/data/file",
  );
  expect(await dockerOk("run", "--rm", "-v", `${volume}:/data`, BUSYBOX, "sh", "-c", "ls /data; cat /data/file")).toBe(
    "file\nkept",
  );
});

test(":ro is enforced", async () => {
  const result = await docker(["run", "--rm", "-v", `${volume}:/data:ro`, BUSYBOX, "sh", "-c", "echo x >/data/file"]);
  expect(result.code).toBe(1);
  expect(result.stderr).toContain("Read-only file system");
});

test("image content is copied up with owner and mode, once", async () => {
  const fresh = uniqueName("copyup");
  const script =
    "cat /srv/app/data/file; stat -c '%u %g %a' /srv/app/data; touch /srv/app/data/mine; rm /srv/app/data/file";
  expect(await dockerOk("run", "--rm", "-v", `${fresh}:/srv/app/data`, image("nonroot"), "sh", "-c", script)).toBe(
    "from the image\n1234 2345 750",
  );
  await dockerOk(
    "run",
    "--rm",
    "-v",
    `${fresh}:/srv/app/data`,
    image("nonroot"),
    "sh",
    "-c",
    "test -e /srv/app/data/mine && ! test -e /srv/app/data/file",
  );
  await dockerOk("volume", "rm", fresh);
});

test("anonymous volumes: of -v and of the image; rm -v removes them, rm keeps them", async () => {
  const name = uniqueName("anonymous");
  await dockerOk("run", "--name", name, "-v", "/extra", image("nonroot"), "true");
  const mounts = await inspect<{ Name: string; Destination: string }[]>(name, ".Mounts");
  expect(mounts.map(({ Destination }) => Destination).sort()).toEqual(["/extra", "/srv/app/data"]);
  await dockerOk("rm", name);
  const left = (await dockerOk("volume", "ls", "-q", "--filter", "dangling=true")).split("\n");
  for (const { Name } of mounts) expect(left).toContain(Name);
  await dockerOk("volume", "prune", "-f");
  const after = await dockerOk("volume", "ls", "-q");
  for (const { Name } of mounts) expect(after).not.toContain(Name);
  expect(after).toContain(volume);
});

test("ls with filters, inspect, and rm of a volume in use", async () => {
  expect(await dockerOk("volume", "ls", "-q", "--filter", "label=purpose=test")).toBe(volume);
  expect(await dockerOk("volume", "inspect", "-f", "{{.Name}} {{.Scope}} {{json .Labels}}", volume)).toBe(
    `${volume} local {"purpose":"test"}`,
  );
  const user = uniqueName("user");
  await dockerOk("create", "--name", user, "-v", `${volume}:/data`, BUSYBOX, "true");
  const refused = await docker(["volume", "rm", volume]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("volume is in use");
  await removeContainers(user);
  const missing = await docker(["volume", "inspect", "no-such-volume"]);
  expect(missing.stderr).toContain("no such volume");
});

test("a second concurrent writer gets a clear error", async () => {
  const first = uniqueName("first");
  await dockerOk("run", "-d", "--name", first, "-v", `${volume}:/data`, BUSYBOX, "sleep", "1000");
  const second = await docker(["run", "--rm", "-v", `${volume}:/data`, BUSYBOX, "true"]);
  expect(second.code).toBe(125);
  expect(second.stderr).toContain(volume);
  await removeContainers(first);
});

test("an image is mounted: a directory of it, writable for the container alone, or read-only", async () => {
  const name = uniqueName("image-mount");
  const mount = `type=image,source=${image("nonroot")}`;
  const script =
    "cat /app/data/file; echo mine >/app/data/file && cat /app/data/file; cat /data/file; echo x >/data/file || ls /data";
  const options = ["--mount", `${mount},target=/app,image-subpath=srv/app`];
  const readOnly = ["--mount", `${mount},target=/data,image-subpath=srv/app/data,readonly`];
  const ran = await docker(["run", "--name", name, ...options, ...readOnly, BUSYBOX, "sh", "-c", script]);
  expect(ran).toMatchObject({ code: 0, stdout: "from the image\nmine\nfrom the image\nfile\n" });
  expect(ran.stderr).toContain("Read-only file system");
  expect((await docker(["rmi", image("nonroot")])).stderr).toContain("(must force)");
  // A stopped container's, too.
  const copied = await run(["sh", "-c", `docker cp ${name}:/app/data/file - | tar -xO`]);
  expect(copied).toMatchObject({ code: 0, stdout: "mine\n" });
  await dockerOk("rm", name);
});

test("created again with more capacity, a volume grows and keeps its files", async () => {
  const name = uniqueName("grows");
  const kilobytes = async (script: string): Promise<number> =>
    Number(await dockerOk("run", "--rm", "-v", `${name}:/data`, BUSYBOX, "sh", "-c", script));
  const size = "df -k /data | awk 'END {print $2}'";
  await dockerOk("volume", "create", "-o", "Capacity=64M", name);
  const before = await kilobytes(`echo kept >/data/file; ${size}`);
  await dockerOk("volume", "create", "-o", "Capacity=256M", name);
  const after = await kilobytes(`grep -q kept /data/file && ${size}`);
  expect(before).toBeLessThan(64 * 1024);
  expect(after).toBeGreaterThan(200 * 1024);
  expect((await docker(["volume", "create", "-o", "Capacity=64M", name])).stderr).toContain("cannot be made smaller");
  await dockerOk("volume", "rm", name);
});
