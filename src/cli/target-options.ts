import { type Command, Option } from "commander";
import type { TargetBridge, TargetRequest } from "../machine/target.ts";
import { CommandError } from "./command.ts";

export interface TargetOptions extends Partial<TargetRequest> {
  bridgeNetwork?: string;
  bridgeInterface?: string;
}

const OPTIONS: [flags: string, description: string][] = [
  ["--target <url>", "vCenter or ESXi instead of the embedded lab: https://user@host"],
  ["--thumbprint <sha256>", "SHA-256 fingerprint of its certificate"],
  ["--target-ca <file>", "PEM of the authority that signed its certificate, instead of --thumbprint"],
  ["--password-file <file>", "file with the user's password (environment: VCH_TARGET_PASSWORD)"],
  ["--datacenter <name>", "needed when there is more than one, as for all of these"],
  ["--resource-pool <name>", "resource pool, cluster or host that container VMs run in"],
  ["--folder <name>", "VM folder that container VMs are in"],
  ["--datastore <name>", "datastore for images, volumes and containers"],
  ["--host <name>", "run container VMs on this host of a cluster only"],
  ["--bridge-network <name>", "port group of the bridge network"],
  ["--bridge-interface <name>", "this machine's network interface on that port group"],
];

/** The options that name an external vSphere. */
export function addTargetOptions(command: Command): Command {
  for (const [flags, description] of OPTIONS)
    command.addOption(new Option(flags, description).helpGroup("An external vSphere:"));
  return command;
}

/** The named target, or undefined when there is none; options without a target are an error. */
export function targetRequest(options: TargetOptions): { request: TargetRequest; bridge: TargetBridge } | undefined {
  const { target, bridgeNetwork, bridgeInterface } = options;
  const { thumbprint, targetCa, passwordFile, datacenter, resourcePool, folder, datastore, host } = options;
  const rest = { thumbprint, targetCa, passwordFile, datacenter, resourcePool, folder, datastore, host };
  const bridge = { network: bridgeNetwork, interfaceName: bridgeInterface };
  if (target !== undefined) return { request: { target, ...rest }, bridge };
  const given = Object.values({ ...rest, ...bridge }).some((value) => value !== undefined);
  if (given) throw new CommandError("These options describe an external vSphere: name it with --target.", 2);
  return undefined;
}
