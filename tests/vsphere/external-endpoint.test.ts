/**
 * The whole program on a vSphere that is not its own lab: `vch up --target` against the simulator, as far as that goes. Nothing boots
 * there, so the image is put onto the datastore by the test, and containers are created, listed and removed, but run no program.
 * Needs root and dist/vch.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { imageLayout } from "../../src/engine/images/layout.ts";
import { enginePaths } from "../../src/engine/paths.ts";
import { embeddedGuestPrograms } from "../../src/machine/assets.ts";
import { connectVSphere } from "../../src/vsphere/index.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

const VCH = join(import.meta.dir, "../../dist/vch");
const NAME = "external";
const INTERFACE = "vchext0";
const SUBNET = "10.213.77.0/24";
const MINUTES = 60_000;

let server: RunningServer;
let folder: Awaited<ReturnType<typeof stateFolder>>;
let environment: Record<string, string>;

interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

async function run(command: string[], extra: Record<string, string | undefined> = {}): Promise<Output> {
  const child = Bun.spawn(command, {
    env: { ...process.env, ...environment, ...extra },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, stdout, stderr };
}

async function succeed(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${stdout}${stderr}`);
  return stdout.trim();
}

function target(): string[] {
  const url = new URL(server.target.url);
  return [
    ...["--target", `https://${server.target.username}@${url.host}`, "--thumbprint", server.target.fingerprint ?? ""],
    ...["--resource-pool", "DC0_C0_RP1", "--datastore", "LocalDS_1", "--folder", "vm/F0"],
    ...["--bridge-network", "DC0_DVPG0", "--bridge-interface", INTERFACE],
  ];
}

/** An image as a pull leaves it behind, without the pull. */
async function putImage(): Promise<void> {
  const vsphere = await connectVSphere(server.target);
  const { files } = vsphere;
  const layout = imageLayout(enginePaths(files.datastore, NAME).images);
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config: { Cmd: ["true"] },
    rootfs: { type: "layers", diff_ids: [] },
  });
  const id = `sha256:${new Bun.CryptoHasher("sha256").update(config).digest("hex")}`;
  const disk = layout.disk("base");
  const image = layout.image(id);
  const capacityBytes = 1024 ** 3;
  try {
    for (const directory of [disk.directory, image.directory]) await files.makeDirectory(directory);
    await files.makeDisk(disk.file, capacityBytes);
    await files.write(image.config, config);
    await files.write(
      disk.marker,
      JSON.stringify({ version: 1, name: "base", chainId: "empty", layers: [], parent: null, depth: 1, capacityBytes }),
    );
    await files.write(
      image.marker,
      JSON.stringify({ version: 1, id, disk: "base", sizeBytes: 0, storedAt: new Date().toISOString() }),
    );
    await files.write(
      layout.repositories,
      JSON.stringify({
        version: 1,
        repositories: { "docker.io/library/empty": { tags: { latest: id }, digests: {} } },
        lastTagged: {},
      }),
    );
  } finally {
    await vsphere.close();
  }
}

beforeAll(async () => {
  folder = await stateFolder();
  const [simulated] = SERVERS;
  if (!simulated) throw new Error("no server");
  server = await simulated.start(folder.path);
  const state = join(folder.path, "state");
  environment = { VCH_STATE: state, VCH_TARGET_PASSWORD: server.target.password };
  // Nothing boots it here.
  const { digest } = await embeddedGuestPrograms();
  await mkdir(join(state, "iso"), { recursive: true });
  await Bun.write(join(state, "iso", "bootstrap.iso"), "an ISO");
  await Bun.write(join(state, "iso", "bootstrap.iso.build"), `${digest}\n`);
  await succeed("ip", "link", "add", INTERFACE, "type", "bridge");
  await succeed("ip", "link", "set", INTERFACE, "up");
}, MINUTES);

afterAll(async () => {
  await run([VCH, "down", "--delete"]);
  await run(["ip", "link", "delete", INTERFACE]);
  await server.stop();
  await folder.remove();
}, MINUTES);

test("what is missing is said before anything is changed, and no password is taken from the command line", async () => {
  const withPassword = await run([VCH, "up", "--target", "https://user:pass@127.0.0.1"]);
  expect(withPassword).toMatchObject({ code: 1, stderr: expect.stringContaining("VCH_TARGET_PASSWORD") });
  const [, , , , ...others] = target();
  const without = await run([VCH, "up", "--target", server.target.url.replace("https://", "https://user@"), ...others]);
  expect(without.code).toBe(1);
  expect(without.stderr.replaceAll(":", "").toLowerCase()).toContain(`--thumbprint ${server.target.fingerprint}`);
  expect(without.stderr).toContain("nothing was changed");
  const wrong = await run([VCH, "doctor", ...target()], { VCH_TARGET_PASSWORD: "wrong" });
  expect(wrong).toMatchObject({ code: 1, stdout: expect.stringContaining("user name or password is wrong") });
  expect((await run([VCH, "up", "--datastore", "x"])).code).toBe(2);
});

test("doctor finds the target in order, and role prints what its user needs", async () => {
  const { code, stdout } = await run([VCH, "doctor", ...target()]);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining("PASS privileges") });
  const role = await succeed(VCH, "role", "--principal", "x@y");
  expect(role).toContain("govc role.create vch-operations");
  expect(role).toContain("VirtualMachine.Inventory.Create");
});

test(
  "up, a container's life, a restart of the endpoint, down",
  async () => {
    await putImage();
    await succeed(
      VCH,
      "up",
      "--name",
      NAME,
      "--subnet",
      SUBNET,
      "--listen",
      "127.0.0.1:23761",
      "--no-sample-image",
      ...target(),
    );
    const status = JSON.parse((await run([VCH, "status", "--json"])).stdout) as {
      lab: { url: string };
      images: number;
    };
    expect(status).toMatchObject({ lab: { url: server.target.url }, images: 1 });
    const socket = `unix://${environment.VCH_STATE}/run/docker.sock`;
    const docker = (...words: string[]) => succeed("docker", "-H", socket, ...words);

    const id = await docker("create", "--name", "one", "--label", "a=b", "-m", "64m", "empty");
    const two = await docker("create", "--name", "two", "empty", "sleep", "1");
    expect(await docker("ps", "-a", "--format", "{{.Names}} {{.State}}")).toBe("two created\none created");
    expect(await docker("inspect", "-f", "{{.Config.Labels.a}} {{.HostConfig.Memory}}", "one")).toBe("b 67108864");

    // In vSphere it is a VM with that name, in the chosen folder.
    const vsphere = await connectVSphere(server.target);
    const view = await vsphere.openView();
    expect(view.list().map(({ powerState }) => powerState)).toEqual(["poweredOff", "poweredOff"]);

    // Started, its VM is powered on; the program in it never speaks.
    const starting = run(["docker", "-H", socket, "start", "two"]);
    const vm = view.list().find(({ annotation, name }) => `${annotation}${name}`.includes("two"));
    if (!vm) throw new Error("no VM of that name");
    await view.waitFor(vm.reference, ({ powerState }) => powerState === "poweredOn", MINUTES, "power on");

    // Another endpoint takes over what is there.
    const { endpoint } = JSON.parse((await run([VCH, "status", "--json"])).stdout) as { endpoint: { pid: number } };
    process.kill(endpoint.pid, "SIGKILL");
    await starting;
    await succeed(VCH, "up", "--no-sample-image");
    expect((await docker("ps", "-aq", "--no-trunc")).split("\n").sort()).toEqual([id, two].sort());
    await docker("rm", "-f", "one", "two");
    expect(await docker("ps", "-aq")).toBe("");
    expect(view.list()).toEqual([]);
    await view.close();
    await vsphere.close();
    await succeed(VCH, "down");
  },
  3 * MINUTES,
);
