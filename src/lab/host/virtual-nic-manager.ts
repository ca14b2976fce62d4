import { networkInterfaces } from "node:os";
import type { Host } from "../inventory/host.ts";
import { data, type Reference } from "../model/data.ts";
import { HostPart } from "./host-part.ts";

/** The machine's first outside address stands for the management adapter. */
export class VirtualNicManager extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      info: () => {
        const nic = managementNic();
        return data("HostVirtualNicManagerInfo", {
          netConfig: [
            data("VirtualNicManagerNetConfig", {
              nicType: "management",
              multiSelectAllowed: true,
              candidateVnic: [nic],
              selectedVnic: [nic],
            }),
          ],
        });
      },
    });
  }
}

export const managementNic = () =>
  data("HostVirtualNic", {
    device: "vmk0",
    key: "key-vim.host.VirtualNic-vmk0",
    portgroup: "",
    spec: data("HostVirtualNicSpec", { ip: address(), mac: undefined, netStackInstanceKey: "defaultTcpipStack" }),
  });

function address() {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outside = all.find(({ family, internal }) => family === "IPv4" && !internal) ?? all[0];
  return data("HostIpConfig", { dhcp: false, ipAddress: outside?.address, subnetMask: outside?.netmask });
}
