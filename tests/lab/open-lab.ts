/** Labs in the test's own process, logged in as their administrator. */
import { join } from "node:path";
import type { Hypervisor } from "../../src/lab/hypervisor/contract.ts";
import { createDiskStore, createHypervisor } from "../../src/lab/hypervisor/index.ts";
import { type Lab, type LabOptions, startLab } from "../../src/lab/index.ts";
import { FakeHypervisor } from "../../src/lab/testing/fake-hypervisor.ts";
import { SoapClient } from "../../src/lab/testing/soap-client.ts";

export interface OpenLab {
  lab: Lab;
  client: SoapClient;
}

async function open(
  directory: string,
  personality: LabOptions["personality"],
  options: Partial<LabOptions> & Pick<LabOptions, "hypervisor">,
): Promise<OpenLab> {
  const lab = await startLab({
    stateDirectory: join(directory, "state"),
    listen: { host: "127.0.0.1", port: 0 },
    personality,
    username: "root",
    password: "secret",
    portGroups: ["VM Network"],
    disks: createDiskStore,
    log: () => undefined,
    ...options,
  });
  const center = personality === "VirtualCenter";
  const collector = center ? "propertyCollector" : "ha-property-collector";
  const client = new SoapClient(lab.url, lab.certificatePem, undefined, collector);
  const sessions = { type: "SessionManager", value: center ? "SessionManager" : "ha-sessionmgr" } as const;
  await client.call("Login", sessions as never, { userName: "root", password: "secret" });
  return { lab, client };
}

/** A lab whose machines are bookkeeping only. */
export const openFakeLab = (
  directory: string,
  personality: LabOptions["personality"],
  options: Partial<LabOptions> = {},
): Promise<OpenLab> => open(directory, personality, { hypervisor: new FakeHypervisor().connect, ...options });

/** A lab whose VMs run under QEMU. Dispose of the hypervisor at the end. */
export async function openRealLab(
  directory: string,
  portGroup: string,
  personality: LabOptions["personality"] = "HostAgent",
): Promise<OpenLab & { hypervisor: Hypervisor }> {
  const made = Promise.withResolvers<Hypervisor>();
  const opened = await open(directory, personality, {
    portGroups: [portGroup],
    hypervisor: async (events, diskRoots) => {
      const hypervisor = await createHypervisor({
        stateDirectory: join(directory, "state"),
        runDirectory: join(directory, "run"),
        diskRoots,
        events,
        log: () => undefined,
      });
      made.resolve(hypervisor);
      return hypervisor;
    },
  });
  return { ...opened, hypervisor: await made.promise };
}
