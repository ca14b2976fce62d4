/**
 * Serves a lab whose machines are bookkeeping only, for tests with independent vSphere clients. Prints one JSON line with url and
 * fingerprint and ends when its standard input does.
 *
 * usage: bun tests/lab/serve-fake.ts DIRECTORY HostAgent|VirtualCenter [PORT] [OPTIONS]
 *
 * OPTIONS: JSON of further LabOptions, for example `clusters`.
 */
import { createDiskStore } from "../../src/lab/hypervisor/disks/disk-store.ts";
import { type LabOptions, startLab } from "../../src/lab/index.ts";
import { FakeHypervisor } from "../../src/lab/testing/fake-hypervisor.ts";

const [directory, personality, port = "0", more = "{}"] = Bun.argv.slice(2);
if (directory === undefined || (personality !== "HostAgent" && personality !== "VirtualCenter")) {
  throw new Error("usage: serve-fake.ts DIRECTORY HostAgent|VirtualCenter [PORT] [OPTIONS]");
}
const lab = await startLab({
  stateDirectory: directory,
  listen: { host: "127.0.0.1", port: Number(port) },
  personality,
  username: "administrator@vsphere.local",
  password: "secret",
  users: [{ username: "operator@vsphere.local", password: "operate" }],
  portGroups: ["VM Network"],
  hypervisor: new FakeHypervisor().connect,
  disks: createDiskStore,
  ...(JSON.parse(more) as Partial<LabOptions>),
  log: (line) => console.error(line),
});
console.log(JSON.stringify({ url: lab.url, fingerprint: lab.fingerprint }));
for await (const _ of Bun.stdin.stream());
await lab.close();
