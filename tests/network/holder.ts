/** Opens a bridge network and publishes a port in a process of its own, for the test that kills it. */
import { openBridgeNetwork } from "../../src/network/bridge-network.ts";
import { BRIDGE, GATEWAY, GUEST_ADDRESSES, SUBNET } from "./namespaces.ts";

const network = await openBridgeNetwork({
  owner: "killed vch",
  interfaceName: BRIDGE,
  subnet: SUBNET,
  gateway: GATEWAY,
  allowedPorts: [],
  addressesInUse: () => [],
  log: () => undefined,
});
const published = await network.publish({
  containerId: "a".repeat(64),
  containerName: "web",
  address: GUEST_ADDRESSES["vchtest-a"],
  ports: [{ containerPort: 80, protocol: "tcp", hostAddress: "" }],
});
console.log(JSON.stringify(published));
setInterval(() => undefined, 60_000);
