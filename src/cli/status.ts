import type { Command } from "commander";
import { locateContainerNetworks } from "../machine/container-networks.ts";
import { findDaemon, logPath } from "../machine/daemon.ts";
import { dockerGet } from "../machine/docker-client.ts";
import { statePaths } from "../machine/paths.ts";
import { stateCommand } from "./command.ts";
import { dockerHost, requireSettings } from "./env.ts";

interface RunTimes {
  container: string;
  name: string;
  steps: Record<string, number>;
  guest: Record<string, number>;
}

interface Information {
  Containers: number;
  ContainersRunning: number;
  Images: number;
  KernelVersion: string;
  OperatingSystem: string;
}

export function statusCommand(): Command {
  return stateCommand("status", "show what runs, where it listens and what it holds")
    .option("--json", "print JSON")
    .action(async (options: { state: string; json?: boolean }) => {
      const settings = await requireSettings(options.state);
      const paths = statePaths(options.state);
      const lab = settings.lab === undefined ? undefined : await findDaemon(paths, "lab");
      const serve = await findDaemon(paths, "serve");
      const info = serve && (await dockerGet<Information>(paths, "/info"));
      const recentRuns = serve && (await dockerGet<RunTimes[]>(paths, "/vch/runs"));
      const status = {
        name: settings.name,
        state: paths.root,
        lab: {
          running: lab !== undefined,
          pid: lab?.pid,
          url: settings.vsphere.url,
          fingerprint: settings.vsphere.fingerprint,
          log: logPath(paths, "lab"),
        },
        endpoint: {
          running: serve !== undefined,
          pid: serve?.pid,
          dockerHost: dockerHost(settings),
          socket: paths.socket,
          log: logPath(paths, "serve"),
        },
        bridge: {
          subnet: settings.bridge.subnet,
          gateway: settings.bridge.gateway,
          ipv6: settings.bridge.ipv6,
          interface: settings.bridge.interfaceName,
        },
        containerNetworks: locateContainerNetworks(paths, settings),
        containers: info?.Containers,
        running: info?.ContainersRunning,
        images: info?.Images,
        // Only in JSON: where the last runs spent their time.
        recentRuns,
      };
      if (options.json) console.log(JSON.stringify(status, undefined, 2));
      else {
        const daemon = (running: boolean, pid: number | undefined): string =>
          running ? `running (pid ${pid})` : "stopped";
        console.log(`VCH         ${status.name}  (${status.state})`);
        console.log(
          settings.lab === undefined
            ? `vSphere     ${settings.vsphere.url} as ${settings.vsphere.username}`
            : `vSphere     ${status.lab.url}  lab ${daemon(status.lab.running, status.lab.pid)}`,
        );
        console.log(
          `Endpoint    ${status.endpoint.dockerHost}  ${daemon(status.endpoint.running, status.endpoint.pid)}`,
        );
        console.log(`Socket      unix://${status.endpoint.socket}`);
        console.log(
          `Bridge      ${status.bridge.subnet}, gateway ${status.bridge.gateway}${status.bridge.ipv6 ? `, ${status.bridge.ipv6.subnet}, gateway ${status.bridge.ipv6.gateway}` : ""}, interface ${status.bridge.interface ?? "none yet"}`,
        );
        for (const { name, portGroup, trust, addresses, ...place } of status.containerNetworks)
          console.log(
            `Network     ${name} on port group ${portGroup}, ${addresses ? `gateway ${addresses.gateway}/${addresses.prefixLength}` : "DHCP"}, firewall ${trust}${"interface" in place ? `, interface ${place.interface}` : ""}`,
          );
        if (info) console.log(`Containers  ${status.running} running of ${status.containers}; ${status.images} images`);
        console.log(`Logs        ${status.lab.log}\n            ${status.endpoint.log}`);
      }
      if (serve === undefined || (settings.lab !== undefined && lab === undefined)) process.exitCode = 1;
    });
}
