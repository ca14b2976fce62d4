import { writeFileSync } from "node:fs";
import type { ContainerConfiguration } from "../../src/link/guest-configuration.ts";
import { setDomainname, setHostname } from "../system/libc.ts";

export const nameHost = ({ hostname, domainname }: Pick<ContainerConfiguration, "hostname" | "domainname">): void => {
  setHostname(hostname);
  if (domainname !== "") setDomainname(domainname);
};

/** Throws for a setting that the kernel does not know or take. */
export const setSysctls = (settings: Record<string, string>): void => {
  for (const [name, value] of Object.entries(settings)) {
    if (!/^[a-zA-Z0-9_./-]+$/.test(name) || name.includes("..")) throw new Error(`invalid sysctl "${name}"`);
    // As in sysctl(8): the first separator decides which of the two is meant as such.
    const path = name.includes("/") ? name : name.replaceAll(".", "/");
    try {
      writeFileSync(`/proc/sys/${path}`, value);
    } catch (error) {
      throw new Error(`sysctl ${name}=${value}: ${error instanceof Error ? error.message : error}`);
    }
  }
};
