/** Gives the kernel the firewall of a container that is described by the first argument, as JSON. */
import type { InterfaceConfiguration } from "../../src/link/guest-configuration.ts";
import { applyFirewall } from "../../tether/network/firewall/index.ts";

for (const text of process.argv.slice(2)) applyFirewall(JSON.parse(text) as InterfaceConfiguration[]);
