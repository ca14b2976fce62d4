import { LabFault, notSupported } from "../fault.ts";
import type { Host } from "../inventory/host.ts";
import { data, type Reference } from "../model/data.ts";
import { HostPart } from "./host-part.ts";

/** Rule sets of ESXi that clients of a container host ask for, and the ports that they stand for. */
const RULESETS = [
  { key: "sshServer", label: "SSH Server", port: 22, direction: "inbound" },
  { key: "webAccess", label: "vSphere Web Access", port: 443, direction: "inbound" },
  {
    key: "remoteSerialPort",
    label: "VM serial port connected over network",
    port: 0,
    endPort: 65_535,
    direction: "outbound",
  },
  { key: "vSPC", label: "VM serial port connected to vSPC", port: 0, endPort: 65_535, direction: "outbound" },
  { key: "nfsClient", label: "NFS Client", port: 0, endPort: 65_535, direction: "outbound" },
] as const;

/** The lab puts no firewall in front of this machine: every rule set is open, and cannot be closed. */
export class FirewallSystem extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      firewallInfo: () =>
        data("HostFirewallInfo", {
          defaultPolicy: data("HostFirewallDefaultPolicy", { incomingBlocked: false, outgoingBlocked: false }),
          ruleset: RULESETS.map(({ key, label, ...rule }) =>
            data("HostFirewallRuleset", {
              key,
              label,
              required: false,
              rule: [data("HostFirewallRule", { portType: "dst", protocol: "tcp", ...rule })],
              enabled: true,
              allowedHosts: data("HostFirewallRulesetIpList", { ipAddress: [], ipNetwork: [], allIp: true }),
            }),
          ),
        }),
    });
    const known = (id: unknown): void => {
      if (!RULESETS.some(({ key }) => key === id))
        throw new LabFault("NotFound", `There is no rule set '${String(id)}'.`);
    };
    this.methods({
      EnableRuleset: (p) => known(p.id),
      DisableRuleset: (p) => {
        known(p.id);
        throw notSupported("the lab has no firewall of its own; every rule set stays open.");
      },
      UpdateRuleset: (p) => {
        known(p.id);
        throw notSupported("the lab has no firewall of its own; every rule set is open to all addresses.");
      },
      RefreshFirewall: () => this.changed("firewallInfo"),
    });
  }
}
