import { notSupported } from "../fault.ts";
import type { Host } from "../inventory/host.ts";
import { data, type Reference } from "../model/data.ts";
import { HostPart } from "./host-part.ts";

/** The machine's clock. ESXi keeps UTC. */
export class DateTimeSystem extends HostPart {
  constructor(host: Host, reference: Reference) {
    super(host, reference);
    this.properties({
      dateTimeInfo: () =>
        data("HostDateTimeInfo", {
          timeZone: data("HostDateTimeSystemTimeZone", { key: "UTC", name: "UTC", description: "UTC", gmtOffset: 0 }),
          ntpConfig: data("HostNtpConfig", { server: [] }),
        }),
    });
    this.methods({
      QueryDateTime: () => new Date(),
      UpdateDateTime: () => {
        throw notSupported("the lab does not set this machine's clock.");
      },
    });
  }
}
