/** Every property of every object that a client can reach is sent as the schema says. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/index.ts";
import type { SoapClient } from "../../src/lab/testing/soap-client.ts";
import { isReference, type ManagedObjectReference } from "../../src/vsphere/vim25/index.ts";
import { BUILD_MILLISECONDS, buildGovc, govcFor } from "./govc.ts";
import { openFakeLab } from "./open-lab.ts";

describe.each(["HostAgent", "VirtualCenter"] as const)("%s", (personality) => {
  const center = personality === "VirtualCenter";
  const complaints: string[] = [];
  let directory: string;
  let lab: Lab;
  let client: SoapClient;

  beforeAll(async () => {
    await buildGovc();
    directory = await mkdtemp(join(tmpdir(), "vch-properties-"));
    const log = (line: string): unknown => complaints.push(line);
    ({ lab, client } = await openFakeLab(directory, personality, { log }));
    const govc = govcFor(lab.url, directory, "root", "secret");
    await govc(
      "vm.create",
      "-m",
      "64",
      "-on=true",
      "-disk",
      "8MB",
      "-disk.controller",
      "pvscsi",
      "-net",
      "VM Network",
      "vm",
    );
    await govc("device.cdrom.add", "-vm", "vm").catch(() => "");
    await govc("snapshot.create", "-vm", "vm", "-m=false", "s");
    await govc("host.autostart.add", "vm");
    if (center) {
      await govc("dvs.create", "switch");
      await govc("dvs.portgroup.add", "-dvs", "switch", "group");
      await govc("cluster.group.create", "-cluster", "/Datacenter/host/Cluster", "-name", "g", "-vm", "vm");
    }
  }, BUILD_MILLISECONDS);
  afterAll(async () => {
    await lab.close();
    await rm(directory, { recursive: true });
  });

  test("from the service instance on, object by object", async () => {
    const collector = {
      type: "PropertyCollector",
      value: center ? "propertyCollector" : "ha-property-collector",
    } as const;
    const seen = new Set<string>();
    const queue: ManagedObjectReference[] = [{ type: "ServiceInstance", value: "ServiceInstance" }];
    const follow = (value: unknown): void => {
      if (isReference(value)) {
        const key = `${value.type}:${value.value}`;
        if (!seen.has(key)) queue.push(value);
        seen.add(key);
      } else if (typeof value === "object" && value !== null) for (const part of Object.values(value)) follow(part);
    };
    for (let obj = queue.pop(); obj; obj = queue.pop()) {
      const specSet = [{ propSet: [{ type: obj.type, all: true }], objectSet: [{ obj }] }];
      const result = await client.call("RetrievePropertiesEx", collector, { specSet, options: {} });
      for (const { missingSet = [], propSet = [] } of result?.objects ?? []) {
        expect({ obj, missingSet }).toEqual({ obj, missingSet: [] });
        for (const { val } of propSet) follow(val);
      }
    }
    expect(seen.size).toBeGreaterThan(40);
    expect(complaints.filter((line) => line.includes("cannot tell"))).toEqual([]);
  });
});
