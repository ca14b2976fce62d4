/**
 * The engine's containers on a vSphere that we did not write, by the thousand: created, listed, found again by a second engine, removed.
 * Nothing boots. `bun tests/performance/engine-on-vcsim.ts [CONTAINERS]`
 */
import { readFileSync } from "node:fs";
import { assembleEngine } from "../../src/engine/assemble.ts";
import type { Engine } from "../../src/engine/contract.ts";
import { fakeParts } from "../../src/engine/testing/engine-fixture.ts";
import { connectVSphere, type VSphere } from "../../src/vsphere/index.ts";
import { SERVERS, stateFolder } from "../vsphere/servers.ts";

const CONTAINERS = Number(Bun.argv[2] ?? 1000);
/** As many as a busy client has under way. */
const AT_ONCE = 32;

const [kind] = SERVERS;
if (!kind) throw new Error("no server");
const folder = await stateFolder();
const server = await kind.start(folder.path);

const residentMegabytes = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024);

async function measure<T>(what: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  const seconds = (performance.now() - started) / 1000;
  const memory = `engine ${residentMegabytes(process.pid)} MB, vcsim ${residentMegabytes(server.pid)} MB`;
  console.log(`${what.padEnd(28)} ${seconds.toFixed(2).padStart(7)} s   ${memory}`);
  return result;
}

/** Runs the work for every item, so many at a time. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function open(vsphere: VSphere) {
  const leaf = `[${vsphere.files.datastore}] images/leaf.vmdk`;
  return await assembleEngine(
    {
      vsphere,
      name: "bench",
      bridge: { interfaceName: "br0", network: kind?.network ?? "", subnet: "172.30.0.0/16", gateway: "172.30.0.1" },
      portGroups: {},
      iso: { datastorePath: `[${vsphere.files.datastore}] iso/bootstrap.iso` },
      link: { port: 2377, certificatePem: "", keyPem: "" },
      registries: () => ({ insecureRegistries: [], mirrors: [], allowedRegistries: [] }),
      defaults: { memoryMB: 64, cpus: 1 },
      build: { version: "0", commit: "", built: "" },
      log: (message) => console.error(message),
    },
    fakeParts(new Map(), { Cmd: ["true"] }, leaf),
  );
}

const BODY: Parameters<Engine["containers"]["create"]>[1] = {
  Image: "busybox",
  Cmd: ["true"],
  ArgsEscaped: false,
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
};
const list = { all: true, limit: 0, size: false, filters: new Map() };
try {
  const vsphere = await connectVSphere(server.target);
  await vsphere.files.makeDirectory(`[${vsphere.files.datastore}] images`);
  await vsphere.files.makeDisk(`[${vsphere.files.datastore}] images/leaf.vmdk`, 1024 * 1024);
  const engine = await open(vsphere);
  console.log(`${CONTAINERS} containers, ${AT_ONCE} at a time; before: vcsim ${residentMegabytes(server.pid)} MB`);
  const names = Array.from({ length: CONTAINERS }, (_, index) => `container-${index}`);
  await measure("create", () => each(names, (name) => engine.containers.create(name, BODY)));
  const listed = await measure("list", () => engine.containers.list(list));
  if (listed.length !== CONTAINERS) throw new Error(`${listed.length} listed`);
  const otherSession = await connectVSphere(server.target);
  const other = await measure("a second engine finds them", () => open(otherSession));
  const found = await other.containers.list(list);
  if (found.length !== CONTAINERS) throw new Error(`${found.length} found again`);
  await other.close();
  await otherSession.close();
  await measure("remove", () =>
    each(names, (name) => engine.containers.remove(name, { force: true, volumes: true, link: false })),
  );
  await engine.close();

  const view = await vsphere.openView();
  const directories = (await vsphere.files.list(`[${vsphere.files.datastore}]`)).map(({ name }) => name);
  console.log(`left over: ${view.list().length} VMs; on the datastore: ${directories.join(", ")}`);
  const below = await vsphere.files.list(`[${vsphere.files.datastore}] vch/bench`).catch(() => []);
  for (const { name } of below) {
    const entries = await vsphere.files.list(`[${vsphere.files.datastore}] vch/bench/${name}`).catch(() => []);
    console.log(`  vch/bench/${name}: ${entries.length} entries`);
  }
  await view.close();
  await vsphere.close();
} finally {
  await server.stop();
  await folder.remove();
}
