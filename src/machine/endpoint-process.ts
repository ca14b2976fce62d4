import { join } from "node:path";
import { serveDockerApi } from "../docker/index.ts";
import { createEngine, type SerialLinkOptions } from "../engine/index.ts";
import { LAB_SWITCH, portGroupBridge } from "../lab/hypervisor/index.ts";
import type { RegistrySettings } from "../registry/settings.ts";
import { connectVSphere } from "../vsphere/index.ts";
import { effectiveBindRoots } from "./bind-roots.ts";
import { BUILD } from "./build.ts";
import { loadLinkCertificate, loadServingCertificates } from "./certificates.ts";
import { announceReady, recordDaemon, selfCommand } from "./daemon.ts";
import { FILE_SERVER_COMMAND } from "./file-server.ts";
import { isoFacts } from "./isos.ts";
import { debugLog, log } from "./log.ts";
import type { StatePaths } from "./paths.ts";
import { controlLinkOf, type EndpointSettings } from "./settings.ts";
import { untilTermination } from "./termination.ts";

/** The group may use the unix socket, as with Docker's own. */
const SOCKET_MODE = 0o660;

const registrySettings = (paths: StatePaths, settings: EndpointSettings): RegistrySettings => ({
  insecureRegistries: settings.insecureRegistries,
  mirrors: [],
  allowedRegistries: [],
  certificateDirectory: join(paths.root, "certs.d"),
});

const SERIAL_USE = { auto: "needed", serial: "always", net: "never" } as const;

/** The concentrator of serial ports; on a vSphere of others only where an address was given that its hosts can dial. */
function serialLink(paths: StatePaths, settings: EndpointSettings): { serial?: SerialLinkOptions } {
  const { carrier, address, port } = controlLinkOf(settings);
  if (settings.lab === undefined && address === undefined) return {};
  const host = address ?? settings.bridge.gateway;
  return { serial: { host, port, use: SERIAL_USE[carrier], socket: paths.linkSocket } };
}

/** Runs the Docker endpoint until SIGTERM or SIGINT. Containers go on running afterwards. */
export async function runEndpoint(paths: StatePaths, settings: EndpointSettings): Promise<void> {
  const { interfaceName } = settings.bridge;
  if (interfaceName === undefined)
    throw new Error(
      "The bridge network has no interface on this machine yet. Start the lab first, or name the interface: vch up",
    );
  const [{ server, authorityPem }, link] = await Promise.all([
    loadServingCertificates(paths, settings),
    loadLinkCertificate(paths),
  ]);
  // Closed in reverse, also when a later one fails: an open connection would keep the process from ending.
  await using closing = new AsyncDisposableStack();
  const vsphere = await connectVSphere(settings.vsphere);
  closing.defer(() => vsphere.close());
  const engine = await createEngine({
    vsphere,
    name: settings.name,
    bridge: { ...settings.bridge, interfaceName },
    ...(settings.lab === undefined
      ? {}
      : {
          portGroups: { virtualSwitch: LAB_SWITCH, interfaceOf: (portGroup) => portGroupBridge(paths.lab, portGroup) },
        }),
    containerNetworks: settings.containerNetworks ?? [],
    iso: { file: paths.iso, facts: await isoFacts(paths.iso) },
    link: { port: settings.bridge.linkPort, ...link, ...serialLink(paths, settings) },
    registries: () => registrySettings(paths, settings),
    binds: {
      roots: effectiveBindRoots(settings),
      dockerSocket: paths.socket,
      fileServer: [...selfCommand(), FILE_SERVER_COMMAND],
    },
    defaults: settings.defaults,
    buildDirectory: paths.build,
    build: { version: BUILD.version, commit: BUILD.commit, built: BUILD.built },
    log: log("engine"),
    debug: debugLog("engine"),
  });
  closing.defer(() => engine.close());
  const apiLog = log("api");
  const api = await serveDockerApi({
    engine,
    listeners: [
      { kind: "unix", path: paths.socket, mode: SOCKET_MODE },
      {
        kind: "tls",
        ...settings.docker,
        certificatePem: server.certificatePem,
        keyPem: server.keyPem,
        clientAuthorityPem: authorityPem,
      },
    ],
    apiInfo: { product: "vch", version: BUILD.version },
    log: (level, message, fields) => apiLog(`${level} ${message} ${JSON.stringify(fields)}`),
  });
  closing.defer(() => api.close());
  await recordDaemon(paths, "serve");
  console.log(`endpoint: ${api.addresses.join(", ")}`);
  await announceReady(JSON.stringify({ addresses: api.addresses }));
  await untilTermination();
}
