/** The driver when the session or the server goes away under it, on every server. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { connectVSphere, type VSphere } from "../../src/vsphere/index.ts";
import { retrieveOne } from "../../src/vsphere/properties.ts";
import { Session } from "../../src/vsphere/session.ts";
import type { UserSession } from "../../src/vsphere/vim25/index.ts";
import { startFaultProxy } from "./fault-proxy.ts";
import { machine, PATIENCE } from "./machines.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

describe.each([...SERVERS])("$name", ({ differences, start }) => {
  let folder: Awaited<ReturnType<typeof stateFolder>>;
  let server: RunningServer;
  let drivers: VSphere[];

  beforeEach(async () => {
    folder = await stateFolder();
    server = await start(folder.path);
    drivers = [];
  });

  afterEach(async () => {
    await Promise.all(drivers.map((driver) => driver.close()));
    await server.stop();
    await folder.remove();
  });

  const connect = async (target = server.target): Promise<VSphere> => {
    const driver = await connectVSphere(target);
    drivers.push(driver);
    return driver;
  };

  /** Ends every other session; tells how many there were. */
  async function terminateOthers(admin: Session): Promise<number> {
    const { sessionManager } = admin.content;
    if (!sessionManager) throw new Error("no session manager");
    const values = await retrieveOne(admin, sessionManager, ["sessionList", "currentSession"]);
    const own = values.get("currentSession") as UserSession;
    const others = ((values.get("sessionList") ?? []) as UserSession[]).filter(({ key }) => key !== own.key);
    if (others.length > 0)
      await admin.call("TerminateSession", sessionManager, { sessionId: others.map(({ key }) => key) });
    return others.length;
  }

  test("a terminated session is opened again, once for all calls, and the view goes on", async () => {
    const proxy = await startFaultProxy(server.target, folder.path);
    const driver = await connect(proxy.target);
    const view = await driver.openView();
    const before = await driver.createVm(machine(driver, "before"));
    await view.waitFor(before, () => true, PATIENCE, "the first VM");
    const admin = await Session.open(server.target);
    try {
      expect(proxy.calls("Login")).toBe(1);
      expect(await terminateOthers(admin)).toBe(1);
      const made = await Promise.all(["a", "b", "c", "d"].map((name) => driver.createVm(machine(driver, name))));
      await Promise.all(
        made.map((vm) => view.waitFor(vm, () => true, PATIENCE, "VMs made after the session was lost")),
      );
      expect(
        view
          .list()
          .map(({ name }) => name)
          .sort(),
      ).toEqual(["a", "b", "before", "c", "d"]);
      expect(proxy.calls("Login")).toBe(2);

      // And a second time, under file transfers.
      await terminateOthers(admin);
      await driver.files.write(`[${driver.files.datastore}] before/x`, "text");
      await terminateOthers(admin);
      expect(await driver.files.readText(`[${driver.files.datastore}] before/x`, 100)).toBe("text");
    } finally {
      await admin.close();
      await driver.close();
      await proxy.stop();
    }
  });

  test("a restarted server: what happened meanwhile is told, and the driver goes on", async () => {
    const driver = await connect();
    const view = await driver.openView();
    const stays = await driver.createVm(machine(driver, "stays"));
    const goes = await driver.createVm(machine(driver, "goes"));
    await view.waitFor(stays, () => true, PATIENCE, "the first VM");
    await view.waitFor(goes, () => true, PATIENCE, "the second VM");
    const removed = view
      .waitFor(goes, () => false, PATIENCE, "removal")
      .catch((error: { fault: string }) => error.fault);
    const forgets = differences.includes("forgets on restart");
    const poweredOn = view.waitFor(stays, ({ powerState }) => powerState === "poweredOn", PATIENCE, "power on");
    const outcome = poweredOn.then(
      ({ name }) => name,
      (error: { fault: string }) => error.fault,
    );

    const port = Number(new URL(server.target.url).port);
    await server.stop();
    server = await start(folder.path, port);
    if (!forgets) {
      const other = await connect();
      await other.destroyVm(goes, { keepDisks: [] });
      await other.powerOn(stays);
    }
    expect(await removed).toBe("ManagedObjectNotFound");
    expect(await outcome).toBe(forgets ? "ManagedObjectNotFound" : "stays");
    const next = await driver.createVm(machine(driver, "next"));
    await view.waitFor(next, () => true, PATIENCE, "a VM made after the restart");
    await driver.powerOn(next);
    await driver.powerOff(next);
    expect(
      view
        .list()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(forgets ? ["next"] : ["next", "stays"]);
  });

  test("a wrong password and names that do not exist are said plainly", async () => {
    const { target } = server;
    await expect(connectVSphere({ ...target, password: "wrong" })).rejects.toMatchObject({ fault: "InvalidLogin" });
    await expect(connectVSphere({ ...target, datastore: "nope" })).rejects.toThrow(
      /There is no datastore "nope"; visible are: \//,
    );
    await expect(connectVSphere({ ...target, resourcePool: "nope" })).rejects.toThrow(
      'There is no resource pool "nope"',
    );
    await expect(connectVSphere({ ...target, datacenter: "nope" })).rejects.toThrow('There is no datacenter "nope"');
    await expect(connectVSphere({ ...target, folder: "nope" })).rejects.toThrow('There is no folder "nope"');
  });
});
