import { isAbsolute } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { runLab } from "../machine/lab-process.ts";
import { statePaths } from "../machine/paths.ts";
import { parseListenAddress, stateCommand } from "./command.ts";
import { requireSettings } from "./env.ts";

export function labCommand(): Command {
  return stateCommand("lab", "run the embedded vSphere in the foreground: a vim25 endpoint whose VMs run under QEMU")
    .option("--listen <address>", "host:port of the SOAP endpoint (default: as `vch up` decided)")
    .option("--personality <kind>", "HostAgent (one ESXi host) or VirtualCenter", "HostAgent")
    .option(
      "--cluster <name=host,host>",
      "a cluster of a VirtualCenter and the names of its hosts, all of which are this machine (repeatable)",
      collect(parseCluster),
    )
    .option(
      "--datastore <name=directory[@host,host]>",
      "a further datastore, on all hosts unless some are named (repeatable)",
      collect(parseDatastore),
    )
    .option("--port-group <name>", "a further port group (repeatable)", collect(String))
    .addHelpText(
      "after",
      "\nUser name and password are in endpoint.json of the state directory. VMs outlive this process: the next start adopts them.",
    )
    .action(async (options: LabCommandOptions) => {
      const settings = await requireSettings(options.state);
      const listen = options.listen === undefined ? settings.lab : parseListenAddress(options.listen);
      await runLab(
        statePaths(options.state),
        settings,
        listen ?? { host: "127.0.0.1", port: 8989 },
        options.personality,
        {
          ...(options.cluster === undefined ? {} : { clusters: options.cluster }),
          ...(options.datastore === undefined ? {} : { datastores: options.datastore }),
          ...(options.portGroup === undefined ? {} : { portGroups: options.portGroup }),
        },
      );
    });
}

interface LabCommandOptions {
  state: string;
  listen?: string;
  personality: string;
  cluster?: ReturnType<typeof parseCluster>[];
  datastore?: ReturnType<typeof parseDatastore>[];
  portGroup?: string[];
}

/** Collects the values of an option that may be given several times. */
const collect =
  <T>(parse: (value: string) => T) =>
  (value: string, previous: T[] = []): T[] => [...previous, parse(value)];

const names = (list: string): string[] => list.split(",").filter((name) => name !== "");

/** `name=host,host` */
export function parseCluster(value: string): { name: string; hosts: string[] } {
  const [, name = "", list = ""] = /^([^=]+)=(.+)$/.exec(value) ?? [];
  const hosts = names(list);
  if (hosts.length === 0) throw new InvalidArgumentError("Name the cluster and its hosts: --cluster A=host1,host2");
  return { name, hosts };
}

/** `name=directory` or `name=directory@host,host` */
export function parseDatastore(value: string): { name: string; directory: string; hosts?: string[] } {
  const [, name = "", directory = "", list] = /^([^=]+)=([^@]+)(?:@(.+))?$/.exec(value) ?? [];
  if (!isAbsolute(directory)) {
    throw new InvalidArgumentError("Name the datastore and its directory: --datastore fast=/srv/fast");
  }
  return { name, directory, ...(list === undefined ? {} : { hosts: names(list) }) };
}
