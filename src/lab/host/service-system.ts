import { LabFault } from "../fault.ts";
import type { Host } from "../inventory/host.ts";
import { data, type Reference } from "../model/data.ts";
import { HostPart } from "./host-part.ts";

/** The one service of a host of the lab: the lab itself. It runs as long as somebody can ask. */
const SERVICE = "hostd";

export class ServiceSystem extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      serviceInfo: () =>
        data("HostServiceInfo", {
          service: [
            data("HostService", {
              key: SERVICE,
              label: "vch lab",
              required: true,
              uninstallable: false,
              running: true,
              policy: "on",
              ruleset: [],
            }),
          ],
        }),
    });
    const known = (id: unknown): void => {
      if (id !== SERVICE)
        throw new LabFault("NotFound", `There is no service '${String(id)}'; a host of the lab has '${SERVICE}'.`);
    };
    const fixed = (p: Readonly<Record<string, unknown>>): never => {
      known(p.id);
      throw new LabFault("InvalidState", `The service '${SERVICE}' is required; start and stop the lab instead.`);
    };
    this.methods({
      StartService: (p) => known(p.id),
      StopService: fixed,
      RestartService: fixed,
      UpdateServicePolicy: fixed,
      RefreshServices: () => this.changed("serviceInfo"),
    });
  }
}
