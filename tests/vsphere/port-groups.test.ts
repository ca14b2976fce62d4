/**
 * Port groups: what `docker network create` and `rm` need. Not against vcsim as vCenter, which takes the same port group on
 * two hosts for two networks of one name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connectVSphere, type VSphere } from "../../src/vsphere/index.ts";
import { faultOf, machine } from "./machines.ts";
import { type RunningServer, SERVERS, stateFolder } from "./servers.ts";

describe.each(SERVERS.filter(({ name }) => name !== "vcsim as vCenter"))("$name", ({ start, name }) => {
  let server: RunningServer;
  let folder: Awaited<ReturnType<typeof stateFolder>>;
  let vsphere: VSphere;
  const isLab = name.includes("lab");

  beforeAll(async () => {
    folder = await stateFolder();
    server = await start(folder.path);
    vsphere = await connectVSphere(server.target);
  });

  afterAll(async () => {
    await vsphere.close();
    await server.stop();
    await folder.remove();
  });

  const names = async (): Promise<string[]> => (await vsphere.networks()).map((network) => network.name);

  test("port groups come and go, and each step may be repeated", async () => {
    const group = { name: "driver-made", virtualSwitch: "vSwitch0", vlanId: 0 };
    await vsphere.addPortGroup(group);
    if (isLab) await vsphere.addPortGroup(group);
    expect(await names()).toContain(group.name);
    // The simulator has another fault for what is there already, removes port groups with VMs on them, and knows no switches.
    if (isLab) {
      const networkAdapters = [{ network: group.name, macAddress: "00:50:56:00:00:77", connected: true }];
      const vm = await vsphere.createVm(machine(vsphere, "on-made-group", { networkAdapters }));
      expect(await faultOf(vsphere.removePortGroup(group.name))).toBe("ResourceInUse");
      await vsphere.destroyVm(vm, { keepDisks: [] });
      expect(await faultOf(vsphere.addPortGroup({ ...group, name: "x", virtualSwitch: "none" }))).toBe("NotFound");
    }
    await vsphere.removePortGroup(group.name);
    await vsphere.removePortGroup(group.name);
    expect(await names()).not.toContain(group.name);
  });
});
