import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, inspect, removeContainers, run, STATE, uniqueName } from "./docker.ts";

/** Several bootstrap ISOs on one datastore: one is the default, one is chosen per container, none in use can go. */

const ISO_TIMEOUT = 240_000;
const vch = (...commandArguments: string[]) => run(["dist/vch", "iso", ...commandArguments, "--state", STATE]);
const made: string[] = [];
const named = (purpose: string): string => {
  const name = uniqueName(purpose);
  made.push(name);
  return name;
};

let folder = "";
let iso = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vch-isos-"));
  iso = join(folder, "second.iso");
  const built = await vch("build", "--out", iso, "--kernel-arg", "vch.second", "--compression", "none");
  expect(built).toMatchObject({ code: 0 });
}, ISO_TIMEOUT);
afterAll(async () => {
  await removeContainers(...made);
  await vch("use", "vch");
  await vch("rm", "second");
  await rm(folder, { recursive: true, force: true });
});

interface Listed {
  name: string;
  isDefault: boolean;
  usedBy: string[];
}
const listed = async (): Promise<Listed[]> => JSON.parse((await vch("ls", "--json")).stdout) as Listed[];
const commandLine = (...options: string[]) => dockerOk("run", "--rm", ...options, BUSYBOX, "cat", "/proc/cmdline");

test(
  "an ISO is uploaded, chosen per container and as the default, and kept while something uses it",
  async () => {
    expect((await listed()).map(({ name, isDefault }) => [name, isDefault])).toEqual([["vch", true]]);
    expect((await docker(["create", "--runtime", "second", BUSYBOX])).stderr).toContain(
      "unknown or invalid runtime name: second",
    );

    expect(await vch("upload", iso, "--name", "second")).toMatchObject({ code: 0 });
    const runtimes = JSON.parse(await dockerOk("info", "--format", "{{json .Runtimes}}")) as Record<string, unknown>;
    expect(Object.keys(runtimes).sort()).toEqual(["second", "vch"]);

    const kept = named("kept");
    await dockerOk("run", "-d", "--name", kept, "--runtime", "second", BUSYBOX, "sleep", "1d");
    expect(await dockerOk("exec", kept, "cat", "/proc/cmdline")).toContain(" vch.second");
    expect(await inspect<string>(kept, ".HostConfig.Runtime")).toBe("second");
    expect(await commandLine()).not.toContain("vch.second");
    expect(await commandLine("--label", "vch.iso=second")).toContain(" vch.second");

    expect(await vch("use", "second")).toMatchObject({ code: 0 });
    expect(await dockerOk("info", "--format", "{{.DefaultRuntime}}")).toBe("second");
    expect(await commandLine()).toContain(" vch.second");
    expect(await commandLine("--runtime", "vch")).not.toContain("vch.second");
    expect((await vch("rm", "second")).stderr).toContain("is the default");

    // Rolled back: new containers have the old one, existing ones keep theirs, also over a restart.
    expect(await vch("use", "vch")).toMatchObject({ code: 0 });
    expect(await commandLine()).not.toContain("vch.second");
    await dockerOk("restart", "-t", "1", kept);
    expect(await dockerOk("exec", kept, "cat", "/proc/cmdline")).toContain(" vch.second");
    expect((await vch("rm", "second")).stderr).toContain(`is used by ${kept}`);
    expect((await listed()).find(({ name }) => name === "second")?.usedBy).toHaveLength(1);
    await removeContainers(kept);
    expect(await vch("rm", "second")).toMatchObject({ code: 0 });
    expect((await listed()).map(({ name }) => name)).toEqual(["vch"]);
  },
  ISO_TIMEOUT,
);

test("what is not sound is not uploaded", async () => {
  const bytes = await readFile(iso);
  const broken = join(folder, "broken.iso");
  // In the middle of the tether, by far the largest file.
  const target = Math.floor(bytes.length / 2);
  bytes.writeUInt8(bytes.readUInt8(target) ^ 0xff, target);
  await writeFile(broken, bytes);
  const refused = await vch("upload", broken);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("is not sound");
  expect((await vch("upload", iso, "--name", "Bad Name")).stderr).toContain("no name for a bootstrap ISO");
  expect((await vch("upload", iso, "--name", "vch")).code).toBe(2);
});
