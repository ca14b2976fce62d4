import type { ContainerConfiguration } from "../../src/link/guest-configuration.ts";
import { ensureEtcFiles, writeEtcFiles } from "../boot/etc-files.ts";
import { nameHost, setSysctls } from "../boot/kernel.ts";
import type { LaterMount } from "../boot/later-mount.ts";
import { buildRoot, mountRootDisk } from "../boot/root.ts";
import { configureNetwork } from "../network/interfaces.ts";
import { openLiveNetwork } from "../network/open.ts";
import { powerOffCleanly } from "../power.ts";
import { reapOrphans } from "../process/reaper.ts";
import { ProcessStartError } from "../process/start-error.ts";
import type { Shares } from "../share/shares.ts";
import type { StateReport } from "../state.ts";
import { prepareCgroup } from "./cgroup.ts";
import { Container } from "./container.ts";

/** Milliseconds after which a container VM tells its address. */
const ADDRESS_DELAY = 1000;
/**
 * Milliseconds to wait for the control link after the process has ended, with and without a client that wants its output, by the carrier
 * of the link: over a serial port the handshake takes its time.
 */
const LINK_LIMITS = {
  net: { attached: 10_000, unattached: 3_000 },
  serial: { attached: 30_000, unattached: 10_000 },
};
/** Milliseconds to wait for the engine to have stored the exit state, and for an expected client to attach. */
const ACKNOWLEDGE_LIMIT = 10_000;
/** Milliseconds for the last answer to leave the VM, by the carrier of the link. */
const FAREWELL = { net: 30, serial: 300 };

const delay = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Failures of a step are told with the class that the engine knows. */
const step = <T>(failure: "mount" | "network" | "configuration", work: () => T): T => {
  try {
    return work();
  } catch (error) {
    throw new ProcessStartError(failure, error instanceof Error ? error.message : String(error));
  }
};

const networkStep = async (work: Promise<unknown>): Promise<void> => {
  try {
    await work;
  } catch (error) {
    throw new ProcessStartError("network", error instanceof Error ? error.message : String(error));
  }
};

/** A container's life from here to power-off. */
export const runContainer = async (configuration: ContainerConfiguration, state: StateReport): Promise<void> => {
  let container: Container | undefined;
  let connection: Link | undefined;
  let shares: Shares | undefined;
  const acknowledged = Promise.withResolvers<void>();
  try {
    await networkStep(guardInterfaces(configuration));
    const prepared = prepare(configuration, state);
    container = prepared.container;
    if (configuration.network.resolver) await networkStep(openLiveNetwork(container));
    if (prepared.later.length > 0) {
      connection = await connect(configuration, container, state, acknowledged.resolve);
      shares = await mountShares(container, connection, prepared.later);
    }
    await sendToSyslog(configuration, container);
    await container.start();
  } catch (error) {
    if (container === undefined) reportFailure(state, error);
    else container.fail(error);
  }
  reapOrphans();
  // The link is loaded only now, unless something is mounted over it: it has no part in starting the process.
  connection ??= await connect(configuration, container, state, acknowledged.resolve);
  await container?.finished;
  await shares?.close();
  await releaseAddresses(container);
  await waitUntilTold(configuration, container, connection, acknowledged.promise);
  connection.close("the container has ended");
  powerOffCleanly();
};

/** As by Docker, a server that cannot be reached is a reason not to start. */
const sendToSyslog = async ({ log, network }: ContainerConfiguration, container: Container): Promise<void> => {
  if (log.syslog === undefined) return;
  const { SyslogSender } = await import("../output/syslog.ts");
  const sender = new SyslogSender(log.syslog, network.resolver?.upstreams ?? network.nameservers);
  try {
    await sender.open();
  } catch (error) {
    throw new ProcessStartError("other", error instanceof Error ? error.message : String(error));
  }
  container.output.sendTo((records) => sender.send(records));
};

/** Everything before the process: disks, mounts, names, network. Each step is short; the order is what they need. */
const prepare = (
  configuration: ContainerConfiguration,
  state: StateReport,
): { container: Container; later: LaterMount[] } => {
  const tree = step("mount", () => mountRootDisk(configuration));
  const earlier = state.keepIn(tree.private);
  const cutOff = earlier !== undefined && earlier.status !== "exited" && earlier.status !== "failed";
  state.phase("disks");
  step("configuration", () => nameHost(configuration));
  const cgroup = step("configuration", () => prepareCgroup(configuration.limits ?? {}));
  const isDynamic = configuration.network.interfaces.some(({ dhcp }) => dhcp !== undefined);
  // With addresses by DHCP they are written when these are known.
  step("mount", () => (isDynamic ? ensureEtcFiles(tree.private) : writeEtcFiles(tree.private, configuration)));
  const later = step("mount", () => buildRoot(configuration, tree));
  state.phase("mounts");
  step("network", () => configureNetwork(configuration.network.interfaces));
  step("configuration", () => setSysctls(configuration.sysctls));
  state.phase("network");
  return { container: new Container(configuration, tree, state, { cgroup, cutOff }), later };
};

/** Mounts what the endpoint serves. Its code is loaded only for containers that have such a mount. */
const mountShares = async (container: Container, connection: Link, later: LaterMount[]): Promise<Shares> => {
  const { Shares } = await import("../share/shares.ts");
  const shares = new Shares(container.tree.root);
  connection.withSession((session) => shares.useSession(session));
  try {
    await shares.mount(later);
  } catch (error) {
    throw new ProcessStartError("mount", error instanceof Error ? error.message : String(error));
  }
  container.settle = () => shares.settled();
  return shares;
};

/** The rules are there before an interface is up. Their code is loaded only for containers that have some. */
const guardInterfaces = async ({ network }: ContainerConfiguration): Promise<void> => {
  if (network.interfaces.every(({ firewall }) => firewall === undefined)) return;
  const { applyFirewall } = await import("../network/firewall/index.ts");
  applyFirewall(network.interfaces);
};

/** The process has ended: its addresses may be somebody else's. */
const releaseAddresses = async (container: Container | undefined): Promise<void> => {
  try {
    (await container?.network)?.release();
  } catch (error) {
    console.error(`releasing addresses: ${error instanceof Error ? error.message : error}`);
  }
};

const reportFailure = (state: StateReport, error: unknown): void => {
  const failure = error instanceof ProcessStartError && error.failure !== "not-running" ? error.failure : "other";
  void state.update({
    status: "failed",
    failure,
    exitCode: 128,
    error: error instanceof Error ? error.message : String(error),
  });
};

type Link = Awaited<ReturnType<typeof connect>>;

const connect = async (
  configuration: ContainerConfiguration,
  container: Container | undefined,
  state: StateReport,
  acknowledged: () => void,
) => {
  const { Connection } = await import("../link/connection.ts");
  const { containerServices } = await import("../link/container-services.ts");
  const services: ReturnType<typeof containerServices> =
    container === undefined
      ? { calls: { acknowledgeExit: () => acknowledged(), state: () => state.current }, streams: {} }
      : containerServices(container, acknowledged);
  const connection = new Connection(configuration.link, services, state);
  if (container !== undefined) container.link = connection;
  // For people who look at the VM: nothing that a short run should wait for.
  if (container !== undefined) {
    setTimeout(() => state.tellAddress(configuration.network.interfaces), ADDRESS_DELAY).unref();
  }
  if (container !== undefined && configuration.health !== undefined) {
    const { HealthMonitor } = await import("./health.ts");
    const monitor = new HealthMonitor(container, configuration.health, () => connection.send(monitor.event));
    monitor.watch();
    connection.greetWith(() => monitor.event);
  }
  return connection;
};

/** Waits for the acknowledgement; a link that is coming back gets the time that it needs. */
const acknowledgedOver = async (connection: Link, acknowledged: Promise<void>): Promise<void> => {
  let over = false;
  const done = acknowledged.then(() => {
    over = true;
  });
  do await Promise.race([done, delay(ACKNOWLEDGE_LIMIT)]);
  while (!over && connection.isRecovering(ACKNOWLEDGE_LIMIT));
};

/** The VM stays until output and exit state have arrived, within limits: guestinfo may be lost at power-off. */
const waitUntilTold = async (
  configuration: ContainerConfiguration,
  container: Container | undefined,
  connection: Link,
  acknowledged: Promise<void>,
): Promise<void> => {
  const { awaitAttach, link } = configuration;
  const limits = LINK_LIMITS[link.carrier];
  const reported = container?.state.update({}) ?? Promise.resolve();
  if (link.carrier === "serial" || link.endpoints.length > 0) {
    await Promise.race([connection.linked, acknowledged, delay(awaitAttach ? limits.attached : limits.unattached)]);
    if (connection.isLinked) {
      await acknowledgedOver(connection, acknowledged);
      await delay(FAREWELL[link.carrier]);
    }
  }
  await Promise.race([reported, delay(ACKNOWLEDGE_LIMIT)]);
};
