import type { LoaderConfiguration } from "../../src/link/guest-configuration.ts";
import { nameHost } from "../boot/kernel.ts";
import { Connection } from "../link/connection.ts";
import { configureNetwork } from "../network/interfaces.ts";
import { powerOffCleanly } from "../power.ts";
import type { StateReport } from "../state.ts";
import { Mounts } from "./mounts.ts";
import { loaderServices } from "./services.ts";

/** Milliseconds for the answer to `shutdown` to leave the VM. */
const FAREWELL = 200;

/** A loader's life: network, link, and work until it is told to end. */
export const runLoader = async (configuration: LoaderConfiguration, state: StateReport): Promise<void> => {
  nameHost({ hostname: configuration.hostname, domainname: "" });
  configureNetwork(configuration.network.interfaces);
  state.phase("network");
  const mounts = new Mounts();
  const ended = Promise.withResolvers<void>();
  const connection = new Connection(configuration.link, loaderServices(mounts, state, ended.resolve), state);
  void state.update({ status: "ready" });
  state.tellAddress(configuration.network.interfaces);
  await ended.promise;
  await Bun.sleep(FAREWELL);
  connection.close("the loader ends");
  mounts.unmountAll();
  powerOffCleanly();
};
