/** Roles and permissions as govc sets them, and what a user with few privileges can do then. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FakeLabProcess, serveFakeLab } from "./fake-lab-process.ts";
import { BUILD_MILLISECONDS, buildGovc, type Govc, govcFor } from "./govc.ts";

beforeAll(buildGovc, BUILD_MILLISECONDS);

describe("roles and permissions", () => {
  let directory: string;
  let lab: FakeLabProcess;
  let govc: Govc;
  let operator: Govc;
  const principal = "operator@vsphere.local";

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vch-permissions-"));
    lab = await serveFakeLab(join(directory, "state"), "VirtualCenter");
    govc = govcFor(lab.url, directory);
    operator = govc.as(principal, "operate");
  });
  afterAll(async () => {
    await lab.stop();
    await rm(directory, { recursive: true });
  });

  test("a user without a permission sees nothing", async () => {
    expect(await operator.refused("ls")).not.toBe("");
    expect(await operator.refused("vm.create", "-on=false", "x")).not.toBe("");
  });

  test("roles", async () => {
    await govc("role.create", "powerer", "VirtualMachine.Interact.PowerOn");
    expect(await govc("role.ls", "powerer")).toContain("VirtualMachine.Interact.PowerOn");
    await govc("role.update", "-a", "powerer", "VirtualMachine.Interact.PowerOff");
    expect(await govc("role.ls", "powerer")).toContain("VirtualMachine.Interact.PowerOff");
    expect(await govc.refused("role.create", "powerer")).toContain("already exists");
    expect(await govc.refused("role.create", "odd", "No.Such.Privilege")).toContain("unknown");
    expect(await govc("role.ls")).toContain("ReadOnly");
    await govc("role.create", "short-lived");
    await govc("role.remove", "short-lived");
  });

  test("a permission on a folder reaches the VMs in it, and only them", async () => {
    await govc("folder.create", "vm/tenant");
    await govc("vm.create", "-on=false", "-folder", "tenant", "inside");
    await govc("vm.create", "-on=false", "outside");
    await govc("permissions.set", "-principal", principal, "-role", "ReadOnly", "-propagate=false", "/");
    await govc("permissions.set", "-principal", principal, "-role", "ReadOnly", "-propagate=false", "/Datacenter");
    await govc("permissions.set", "-principal", principal, "-role", "ReadOnly", "-propagate=false", "/Datacenter/vm");
    await govc("permissions.set", "-principal", principal, "-role", "powerer", "/Datacenter/vm/tenant");
    expect(await govc("permissions.ls", "/Datacenter/vm/tenant")).toContain(principal);
    expect(await govc("role.usage", "powerer")).toContain("tenant");
    await operator("vm.power", "-on", "/Datacenter/vm/tenant/inside");
    expect(await operator.refused("vm.power", "-on", "/Datacenter/vm/outside")).not.toBe("");
    expect(await operator.refused("snapshot.create", "-vm", "/Datacenter/vm/tenant/inside", "s")).toMatch(
      /NoPermission|denied/,
    );
    expect(await operator.refused("vm.change", "-vm", "/Datacenter/vm/tenant/inside", "-m", "64")).toContain("denied");
    expect(await operator.refused("vm.destroy", "/Datacenter/vm/tenant/inside")).not.toBe("");
    expect(await operator("find", "/", "-type", "m")).toBe("/Datacenter/vm/tenant/inside\n");
    expect(await operator.refused("role.create", "mine")).toContain("denied");
  });

  test("permissions outlive a restart and can be taken away", async () => {
    await lab.stop();
    lab = await serveFakeLab(join(directory, "state"), "VirtualCenter");
    govc = govcFor(lab.url, directory);
    operator = govc.as(principal, "operate");
    expect(await operator("ls", "/Datacenter/vm/tenant")).toContain("inside");
    await govc("permissions.remove", "-principal", principal, "/Datacenter/vm/tenant");
    expect(await operator.refused("vm.power", "-off", "-force", "/Datacenter/vm/tenant/inside")).not.toBe("");
    await govc("role.remove", "-force", "powerer");
  });
});
