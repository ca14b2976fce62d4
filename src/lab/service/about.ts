import type { Personality } from "../inventory/naming.ts";
import { type DataObject, data } from "../model/data.ts";
import { API_VERSION } from "../server/service-versions.ts";

/** Which product the endpoint stands for. */
export function aboutInfo({
  personality,
  instanceUuid,
}: {
  personality: Personality;
  instanceUuid: string;
}): DataObject {
  const center = personality === "VirtualCenter";
  const name = center ? "VMware vCenter Server" : "VMware ESXi";
  return data("AboutInfo", {
    name,
    fullName: `${name} 8.0.2 (vch lab)`,
    vendor: "VMware, Inc.",
    version: "8.0.2",
    build: "0",
    localeVersion: "INTL",
    localeBuild: "000",
    osType: center ? "linux-x64" : "vmnix-x86",
    productLineId: center ? "vpx" : "embeddedEsx",
    apiType: personality,
    apiVersion: API_VERSION,
    // A host has none, and clients tell the two apart by it.
    instanceUuid: center ? instanceUuid : undefined,
    licenseProductName: center ? "VMware VirtualCenter Server" : "VMware ESX Server",
    licenseProductVersion: "8.0",
  });
}
