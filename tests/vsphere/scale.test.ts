/** Many objects and many calls: pages, truncated updates, the limit of calls in flight, slow tasks. */
import { describe, expect, test } from "bun:test";
import { connectVSphere } from "../../src/vsphere/index.ts";
import { retrieve, retrieveBelow } from "../../src/vsphere/properties.ts";
import { Session } from "../../src/vsphere/session.ts";
import type { ManagedObjectReference } from "../../src/vsphere/vim25/index.ts";
import { startFaultProxy } from "./fault-proxy.ts";
import { machine, PATIENCE } from "./machines.ts";
import { SERVERS, stateFolder } from "./servers.ts";

const OBJECTS = 10_000;
const MINUTES = 60_000;
/** As in session.ts. */
const CALLS_IN_FLIGHT = 32;

describe.each([...SERVERS])("$name", ({ apiType, network, start }) => {
  test(
    "thousands of objects come in pages, each once",
    async () => {
      const folder = await stateFolder();
      const server = await start(folder.path);
      const proxy = await startFaultProxy(server.target, folder.path);
      const session = await Session.open(proxy.target);
      try {
        // A standalone host has no folders to make: there it is fewer objects in smaller pages.
        const wanted: ManagedObjectReference[] = [];
        if (apiType === "VirtualCenter") {
          const [datacenter] = await retrieveBelow(session, session.content.rootFolder, { Datacenter: ["vmFolder"] });
          const folder = datacenter?.values.get("vmFolder") as ManagedObjectReference<"Folder">;
          const names = Array.from({ length: OBJECTS }, (_, index) => `folder ${index}`);
          wanted.push(...(await Promise.all(names.map((name) => session.call("CreateFolder", folder, { name })))));
        } else {
          const { propertyCollector } = session.content;
          const make = () => session.call("CreatePropertyCollector", propertyCollector, {});
          wanted.push(...(await Promise.all(Array.from({ length: 900 }, make))));
        }
        const before = proxy.calls("RetrievePropertiesEx") + proxy.calls("ContinueRetrievePropertiesEx");
        const type = wanted[0]?.type ?? "";
        const found = await retrieve(
          session,
          {
            propSet: [{ type, pathSet: apiType === "VirtualCenter" ? ["name"] : ["filter"] }],
            objectSet: wanted.map((obj) => ({ obj })),
          },
          apiType === "VirtualCenter" ? {} : { pageObjects: 100 },
        );
        const pages = proxy.calls("RetrievePropertiesEx") + proxy.calls("ContinueRetrievePropertiesEx") - before;
        expect(new Set(found.map(({ reference }) => reference.value)).size).toBe(wanted.length);
        expect(found.length).toBe(wanted.length);
        expect(pages).toBeGreaterThan(8);
      } finally {
        await session.close();
        await proxy.stop();
        await server.stop();
        await folder.remove();
      }
    },
    10 * MINUTES,
  );

  test(
    "a first set that is cut into parts is taken as one; calls stay within their limit",
    async () => {
      const folder = await stateFolder();
      const server = await start(folder.path);
      const proxy = await startFaultProxy(server.target, folder.path);
      const driver = await connectVSphere(proxy.target);
      try {
        const names = Array.from({ length: 250 }, (_, index) => `vm-${index}`);
        const adapters = [{ network, connected: false }];
        const made = await Promise.all(
          names.map((name) => driver.createVm(machine(driver, name, { networkAdapters: adapters }))),
        );
        expect(proxy.mostInFlight).toBeLessThanOrEqual(CALLS_IN_FLIGHT);
        expect(proxy.mostInFlight).toBeGreaterThan(CALLS_IN_FLIGHT / 2);
        const polls = proxy.calls("WaitForUpdatesEx");
        const view = await driver.openView();
        // Complete with its first answer to us, although the server told it in several.
        expect(view.list().length).toBe(names.length);
        expect(proxy.calls("WaitForUpdatesEx")).toBeGreaterThan(polls + 2);
        expect(view.list().every(({ networkAdapters }) => networkAdapters[0]?.network === network)).toBe(true);
        await Promise.all(made.map((vm) => driver.destroyVm(vm, { keepDisks: [] })));
        const left = made.filter((vm) => view.get(vm) !== undefined);
        await Promise.all(left.map((vm) => view.waitFor(vm, () => false, PATIENCE, "removal").catch(() => undefined)));
        expect(view.list()).toEqual([]);
      } finally {
        await driver.close();
        await proxy.stop();
        await server.stop();
        await folder.remove();
      }
    },
    5 * MINUTES,
  );
});

test(
  "slow tasks are waited for, many at a time",
  async () => {
    const [simulated] = SERVERS;
    const folder = await stateFolder();
    const server = await simulated?.start(folder.path, 0, "-task-delay", "4000");
    if (!server) throw new Error("no server");
    const driver = await connectVSphere(server.target);
    try {
      const started = performance.now();
      const made = await Promise.all(["a", "b", "c", "d"].map((name) => driver.createVm(machine(driver, name))));
      const took = performance.now() - started;
      expect(took).toBeGreaterThanOrEqual(4000);
      // One after the other they would take sixteen seconds.
      expect(took).toBeLessThan(16_000);
      expect(new Set(made.map(({ value }) => value)).size).toBe(4);
    } finally {
      await driver.close();
      await server.stop();
      await folder.remove();
    }
  },
  MINUTES,
);
