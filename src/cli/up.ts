import { type Command, Option } from "commander";
import { parseBindRoots } from "../machine/bind-roots.ts";
import type { ContainerNetwork } from "../machine/container-networks.ts";
import { DEFAULT_STATE_DIRECTORY, statePaths } from "../machine/paths.ts";
import { CONTROL_LINKS, type ControlLink, type SettingsChoices } from "../machine/settings.ts";
import { checkExternalTarget, requireTarget, resolveTarget } from "../machine/target.ts";
import { bringUp } from "../machine/up.ts";
import { parseListenAddress, parseWholeNumber, programName, stateCommand } from "./command.ts";
import {
  addContainerNetworkOptions,
  type ContainerNetworkOptionValues,
  containerNetworks,
} from "./container-network-options.ts";
import { environmentLines } from "./env.ts";
import { addTargetOptions, type TargetOptions, targetRequest } from "./target-options.ts";

interface UpOptions extends TargetOptions, ContainerNetworkOptionValues {
  state: string;
  name: string;
  listen: string;
  labListen: string;
  subnet?: string;
  subnet6?: string;
  memory: number;
  cpus: number;
  insecureRegistry: string[];
  controlLink?: ControlLink;
  serialAddress?: string;
  bindRoot: string[];
  sampleImage: boolean;
}

/** The named vSphere, after everything that a VCH needs of it was found there. */
async function externalTarget(
  options: TargetOptions,
  networks: readonly ContainerNetwork[],
): Promise<SettingsChoices["external"]> {
  const named = targetRequest(options);
  if (named === undefined) return undefined;
  const vsphere = await resolveTarget(named.request);
  requireTarget(await checkExternalTarget(vsphere, named.bridge, networks));
  const { network = "", interfaceName = "" } = named.bridge;
  return { vsphere, network, interfaceName };
}

/** Port and address that were named. */
function serialAddress(text: string | undefined): { address?: string; port?: number } {
  if (text === undefined) return {};
  if (!/:\d+$/.test(text) || text.endsWith("]")) return { address: text.replace(/^\[(.*)\]$/, "$1") };
  const { host, port } = parseListenAddress(text);
  return { address: host, port };
}

const collect = (value: string, all: string[]): string[] => [...all, value];

export function upCommand(): Command {
  const command = stateCommand(
    "up",
    "make what is missing (certificates, bootstrap ISO), start the lab and the Docker endpoint",
  );
  return addContainerNetworkOptions(addTargetOptions(command), { removable: true })
    .option("--name <name>", "name of the VCH", "vch")
    .option("--listen <address>", "host:port of the Docker endpoint (TLS with client certificates)", "127.0.0.1:2376")
    .option("--lab-listen <address>", "host:port of the lab's vSphere endpoint", "127.0.0.1:8989")
    .option("--subnet <cidr>", "subnet of the bridge network (default: the first free of a few private ones)")
    .option("--subnet6 <cidr>", "IPv6 subnet of the bridge network, such as fd00:30::/64 (default: no IPv6 there)")
    .option(
      "--memory <MB>",
      "memory of a container that sets no limit, in MB",
      parseWholeNumber("--memory", 16, 1 << 20),
      256,
    )
    .option("--cpus <count>", "virtual CPUs of a container that sets none", parseWholeNumber("--cpus", 1, 128), 1)
    .option(
      "--insecure-registry <host>",
      "registry to speak to without TLS, host[:port] or CIDR; repeatable",
      collect,
      [],
    )
    .addOption(
      new Option(
        "--control-link <carrier>",
        "how guests call the endpoint: auto (over their network, or a serial port where none of theirs reaches it), net (over a hidden vNIC there), serial (default: auto with the lab, net elsewhere)",
      ).choices(CONTROL_LINKS),
    )
    .option(
      "--serial-address <address>",
      "host[:port] of this machine that vSphere's hosts dial for serial ports (default: the bridge network's gateway, which only the lab's host can dial; port 2378)",
    )
    .option(
      "--bind-root <path>",
      "directory of this machine that containers may bind-mount, with all below; repeatable; or any, or none (default: any with the embedded lab, none with --target)",
      collect,
      [],
    )
    .option(
      "--no-sample-image",
      "do not import the image `busybox`, made from Debian's busybox-static, when there is no image",
    )
    .addHelpText(
      "after",
      "\nSettings are decided at the first start and kept in endpoint.json of the state directory; later starts use them again\n" +
        "and only --insecure-registry, --bind-root, --memory, --cpus, --control-link, --serial-address, --container-network and --target with\n" +
        "their options are taken anew.",
    )
    .action(async (options: UpOptions, command: Command) => {
      const paths = statePaths(options.state);
      const given = (name: string): boolean => command.getOptionValueSource(name) === "cli";
      const networks = containerNetworks(options);
      const external = await externalTarget(options, networks ?? []);
      const settings = await bringUp(paths, {
        choices: {
          name: options.name,
          listen: parseListenAddress(options.listen),
          labListen: parseListenAddress(options.labListen),
          subnet: options.subnet,
          subnet6: options.subnet6,
          memoryMB: options.memory,
          cpus: options.cpus,
          insecureRegistries: options.insecureRegistry,
          ...(networks === undefined ? {} : { containerNetworks: networks }),
          bindRoots: parseBindRoots(options.bindRoot),
          external,
        },
        controlLink: { carrier: options.controlLink, ...serialAddress(options.serialAddress) },
        changed: { memory: given("memory"), cpus: given("cpus"), insecureRegistries: given("insecureRegistry") },
        sampleImage: options.sampleImage,
        say: (line) => console.error(line),
      });
      console.error("\nPoint the docker CLI at it:\n");
      console.log(environmentLines(settings, paths.clientCertificates));
      const state = paths.root === DEFAULT_STATE_DIRECTORY ? "" : ` --state ${paths.root}`;
      console.error(`\nor: eval "$(${programName()} env${state})"`);
    });
}
