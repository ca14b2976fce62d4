/** The driver when the server goes away under it: lost sessions, restarts, certificates that changed. The server is the lab. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import { createDiskStore } from "../../src/lab/hypervisor/disks/disk-store.ts";
import { type Lab, startLab } from "../../src/lab/index.ts";
import { loadServerCertificate } from "../../src/lab/server/certificate.ts";
import { FakeHypervisor } from "../../src/lab/testing/fake-hypervisor.ts";
import { connectVSphere, type VirtualMachineSpec, type VSphere, type VSphereTarget } from "../../src/vsphere/index.ts";
import { retrieveOne } from "../../src/vsphere/properties.ts";
import { Session } from "../../src/vsphere/session.ts";
import { Transport } from "../../src/vsphere/transport.ts";
import type { UserSession } from "../../src/vsphere/vim25/index.ts";

const ACCOUNT = { username: "administrator@vsphere.local", password: "secret" };

let directory: string;
let lab: Lab;
let drivers: VSphere[];

async function serve(port: number): Promise<Lab> {
  return startLab({
    stateDirectory: directory,
    listen: { host: "127.0.0.1", port },
    personality: "VirtualCenter",
    ...ACCOUNT,
    portGroups: ["VM Network"],
    hypervisor: new FakeHypervisor().connect,
    disks: createDiskStore(),
    log: () => undefined,
  });
}

function target(): VSphereTarget {
  return { url: lab.url, fingerprint: lab.fingerprint, ...ACCOUNT };
}

async function connect(): Promise<VSphere> {
  const driver = await connectVSphere(target());
  drivers.push(driver);
  return driver;
}

function spec(driver: VSphere, name: string): VirtualMachineSpec {
  return {
    name,
    uuid: crypto.randomUUID(),
    annotation: "",
    directory: `[${driver.files.datastore}] ${name}`,
    cpus: 1,
    memoryMB: 64,
    firmware: "bios",
    disks: [],
    networkAdapters: [],
    serialPorts: [],
    extraConfig: { "vch.id": name },
  };
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vch-recovery-"));
  lab = await serve(0);
  drivers = [];
});

afterEach(async () => {
  await Promise.all(drivers.map((driver) => driver.close()));
  await lab.close();
  await rm(directory, { recursive: true });
});

test("a terminated session is opened again, once, and the view goes on", async () => {
  const driver = await connect();
  const view = await driver.openView();
  const before = await driver.createVm(spec(driver, "before"));
  await view.waitFor(before, () => true, 5000, "the first VM");

  const admin = await Session.open(target());
  const { sessionManager } = admin.content;
  if (!sessionManager) throw new Error("no session manager");
  const sessions = async () =>
    ((await retrieveOne(admin, sessionManager, ["sessionList"])).get("sessionList") ?? []) as UserSession[];
  const own = (await retrieveOne(admin, sessionManager, ["currentSession"])).get("currentSession") as UserSession;
  const others = (await sessions()).filter(({ key }) => key !== own.key).map(({ key }) => key);
  await admin.call("TerminateSession", sessionManager, { sessionId: others });

  const made = await Promise.all(["a", "b", "c", "d"].map((name) => driver.createVm(spec(driver, name))));
  await Promise.all(made.map((vm) => view.waitFor(vm, () => true, 5000, "VMs made after the session was lost")));
  expect(
    view
      .list()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(["a", "b", "before", "c", "d"]);
  expect((await sessions()).filter(({ key }) => key !== own.key).length).toBe(1);
  await admin.close();
});

test("a restarted server: what happened meanwhile is told, and waits go on", async () => {
  const driver = await connect();
  const view = await driver.openView();
  const stays = await driver.createVm(spec(driver, "stays"));
  const goes = await driver.createVm(spec(driver, "goes"));
  await view.waitFor(stays, () => true, 5000, "the first VM");
  await view.waitFor(goes, () => true, 5000, "the second VM");
  const removed = view.waitFor(goes, () => false, 20_000, "removal").catch((error: { fault: string }) => error.fault);
  const poweredOn = view.waitFor(stays, ({ powerState }) => powerState === "poweredOn", 20_000, "power on");

  const port = Number(new URL(lab.url).port);
  await lab.close();
  lab = await serve(port);
  const other = await connect();
  await other.destroyVm(goes, { keepDisks: [] });
  await other.powerOn(stays);

  expect(await removed).toBe("ManagedObjectNotFound");
  expect((await poweredOn).name).toBe("stays");
  await driver.powerOff(stays);
  expect(view.list().map(({ name }) => name)).toEqual(["stays"]);
});

test("neither request nor password goes to a server with another certificate", async () => {
  const other = await mkdtemp(join(tmpdir(), "vch-other-"));
  const { certificatePem, keyPem } = await loadServerCertificate(other, ["127.0.0.1"]);
  let received = "";
  const impostor = createServer({ cert: certificatePem, key: keyPem }, (socket) => {
    socket.on("data", (data) => {
      received += data.toString();
    });
    socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
  const address = impostor.address();
  const url = `https://127.0.0.1:${typeof address === "object" ? address?.port : ""}/sdk`;
  try {
    await expect(connectVSphere({ ...target(), url })).rejects.toThrow("not the expected");
    await expect(connectVSphere({ ...ACCOUNT, url })).rejects.toThrow("is not trusted");
    await expect(connectVSphere({ ...ACCOUNT, url, certificateAuthority: lab.certificatePem })).rejects.toThrow(
      "is not trusted",
    );
    await expect(connectVSphere({ ...ACCOUNT, url, fingerprint: "aa:bb" })).rejects.toThrow("no SHA-256 fingerprint");
    expect(received).toBe("");
  } finally {
    impostor.close();
    await rm(other, { recursive: true });
  }
});

test("a server that falls silent is given up", async () => {
  const { certificatePem, keyPem } = await loadServerCertificate(directory, ["127.0.0.1"]);
  const silent = createServer({ cert: certificatePem, key: keyPem }, (socket) =>
    socket.on("error", () => socket.destroy()),
  );
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const address = silent.address();
  const url = `https://127.0.0.1:${typeof address === "object" ? address?.port : ""}/sdk`;
  const transport = new Transport({ url, certificateAuthority: certificatePem }, 300);
  await expect(transport.post("/sdk", {}, "")).rejects.toThrow("nothing heard for 0.3 s");
  transport.close();
  silent.close();
});

test("a certificate authority's PEM is trusted instead of a fingerprint", async () => {
  const driver = await connectVSphere({ url: lab.url, ...ACCOUNT, certificateAuthority: lab.certificatePem });
  expect(driver.about.apiType).toBe("VirtualCenter");
  await driver.close();
});

test("a wrong password and names that do not exist are said plainly", async () => {
  await expect(connectVSphere({ ...target(), password: "wrong" })).rejects.toMatchObject({ fault: "InvalidLogin" });
  await expect(connectVSphere({ ...target(), datastore: "nope" })).rejects.toThrow(
    /There is no datastore "nope"; visible are: \//,
  );
  await expect(connectVSphere({ ...target(), resourcePool: "nope" })).rejects.toThrow(
    'There is no resource pool "nope"',
  );
});
