/** Whether everything that a VCH has on its datastore and on this machine belongs to something that its API knows. */
import { expect } from "bun:test";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { docker, run, STATE } from "./docker.ts";

const VCH = join(STATE, "lab/datastore1/vch/e2e");
/** The endpoint finishes in the background what was cut off; loader VMs boot for that. */
const SETTLE_LIMIT_MILLISECONDS = 180_000;
const LOOK_EVERY_MILLISECONDS = 1000;

const names = async (directory: string): Promise<string[]> =>
  (await readdir(directory).catch(() => [])).filter((name) => name !== "").sort();

const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .sort();

async function listed(...command: string[]): Promise<string[]> {
  const result = await docker(command);
  if (result.code !== 0) throw new Error(`docker ${command.join(" ")}: ${result.stderr}`);
  return lines(result.stdout);
}

function difference(what: string, there: string[], expected: string[]): string[] {
  const extra = there.filter((name) => !expected.includes(name));
  const missing = expected.filter((name) => !there.includes(name));
  return [
    ...(extra.length > 0 ? [`${what} left over: ${extra.join(" ")}`] : []),
    ...(missing.length > 0 ? [`${what} missing: ${missing.join(" ")}`] : []),
  ];
}

/** Directories below `directory` without their commit marker, or files of a write that was cut off. */
async function unmarked(directory: string, marker: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await names(directory)) {
    const content = await names(join(directory, name));
    if (!content.includes(marker) || content.some((file) => /\.(new|tmp)$/.test(file)))
      found.push(`${directory}/${name} holds ${content.join(" ") || "nothing"}`);
  }
  return found;
}

/** Image disks that neither an image nor another disk needs. */
async function uselessDisks(): Promise<string[]> {
  const read = async (path: string): Promise<Record<string, unknown>> =>
    JSON.parse(await readFile(join(VCH, "images", path), "utf8")) as Record<string, unknown>;
  const disks = await names(join(VCH, "images/disks"));
  const needed = new Set<unknown>();
  for (const image of await names(join(VCH, "images/images")))
    needed.add((await read(`images/${image}/image.json`)).disk);
  for (const disk of disks) needed.add((await read(`disks/${disk}/disk.json`)).parent);
  return disks.filter((disk) => !needed.has(disk)).map((disk) => `image disk ${disk} belongs to nothing`);
}

async function interfaceOf(): Promise<string> {
  const status = JSON.parse((await run(["dist/vch", "status", "--json", "--state", STATE])).stdout) as {
    bridge: { interface: string };
  };
  return status.bridge.interface;
}

/** The tables of the VCH's networks; the machine may hold those of another VCH, even of one that is gone. */
async function rulesOf(bridge: string): Promise<string> {
  const tables = lines((await run(["nft", "list", "tables", "inet"])).stdout);
  const own = tables.find((table) => table.endsWith(`/${bridge}`));
  if (own === undefined) throw new Error(`no table for ${bridge} among ${tables.join(", ")}`);
  const owner = own.slice(0, -bridge.length);
  const texts = tables
    .filter((table) => table.startsWith(owner))
    .map((table) => run(["nft", "list", ...table.split(" ")]));
  return (await Promise.all(texts)).map(({ stdout }) => stdout).join("");
}

async function problems(bridge: string): Promise<string[]> {
  const [containers, runningContainers, volumes, loaders] = await Promise.all([
    listed("ps", "-aq", "--no-trunc"),
    listed("ps", "-q", "--no-trunc"),
    listed("volume", "ls", "-q"),
    names(join(VCH, "loaders")),
  ]);
  const machines = await run([
    "sh",
    "-c",
    `grep -lsz '^type=' /proc/[0-9]*/cmdline | xargs -r grep -lsaz '${STATE}/run/lab/' | wc -l`,
  ]);
  const running = runningContainers.length + loaders.length;
  const rules = (await rulesOf(bridge)).match(/comment "[0-9a-f]{64}"/g) ?? [];
  const publishers = [...new Set(rules.map((rule) => rule.slice(9, -1)))].filter(
    (id) => !runningContainers.includes(id),
  );
  const taps = await names(`/sys/class/net/${bridge}/brif`);
  const runDirectories = await names(join(STATE, "run/lab"));
  return [
    ...difference("containers' directories", await names(join(VCH, "containers")), containers),
    ...difference("volumes' directories", await names(join(VCH, "volumes")), volumes),
    ...(await unmarked(join(VCH, "volumes"), "volume.json")),
    ...(await unmarked(join(VCH, "images/images"), "image.json")),
    ...(await unmarked(join(VCH, "images/disks"), "disk.json")),
    ...(await unmarked(join(VCH, "images/blobs"), "blob.json")),
    ...(await uselessDisks()),
    ...(Number(machines.stdout) === running ? [] : [`${machines.stdout.trim()} QEMU processes for ${running} VMs`]),
    ...(taps.length === running ? [] : [`${taps.length} taps for ${running} VMs: ${taps.join(" ")}`]),
    ...(runDirectories.length === running ? [] : [`${runDirectories.length} run directories for ${running} VMs`]),
    ...difference("publishing rules of stopped containers", publishers, []),
    ...difference("the lab's unfinished work", await names(join(STATE, "lab/journal")), []),
    ...difference("the lab's work area", await names(join(STATE, "lab/datastore1/.lab-work")), []),
  ];
}

/** Waits until nothing is left over and nothing is missing; fails with what still is. */
export async function expectConsistent(after: string): Promise<void> {
  const bridge = await interfaceOf();
  const deadline = performance.now() + SETTLE_LIMIT_MILLISECONDS;
  for (;;) {
    const found = await problems(bridge).catch((error: unknown) => [String(error)]);
    if (found.length === 0) return;
    if (performance.now() > deadline) expect(found, after).toEqual([]);
    await Bun.sleep(LOOK_EVERY_MILLISECONDS);
  }
}
