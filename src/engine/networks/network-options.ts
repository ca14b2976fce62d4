/** Checks a `docker network create`: everything in it is applied or refused. Texts are Docker's where it has one. */
import { isIPv4 } from "node:net";
import type { NetworkCreateBody } from "../contract.ts";
import { EngineError, invalid, notImplemented } from "../errors.ts";
import { NAME_CHARACTERS } from "../identifiers.ts";
import { type BlockWish, checkBlocks } from "./address-blocks.ts";
import { checkNetworkFields } from "./network-fields.ts";
import { NETWORK_OPTION } from "./network-record.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const LONGEST_NAME = 200;
/** RFC 8200, section 5. */
const LOWEST_IPV6_MTU = 1280;
const MTU_RANGE = { lowest: 68, highest: 9000 };
const BOOLEAN = new Set(["true", "false", "1", "0", ""]);

/** Why other drivers have no place here. */
const DRIVERS: Record<string, string> = {
  overlay: "every network is on vSphere's switches, which span hosts by themselves. Use the driver bridge",
  macvlan:
    "a container has a vNIC of its own on a port group. Use the driver bridge, or a port group with -o vch.network.portgroup=NAME",
  ipvlan:
    "a container has a vNIC of its own on a port group. Use the driver bridge, or a port group with -o vch.network.portgroup=NAME",
  external: "a container network is given by the administrator: vch up --container-network PORTGROUP:NAME",
  host: 'only one instance of "host" network is allowed',
  null: 'only one instance of "null" network is allowed',
};

export interface NetworkWish {
  name: string;
  internal: boolean;
  attachable: boolean;
  /** As the client gave them; without a subnet one is chosen. */
  ipv4: BlockWish;
  ipv6: BlockWish | undefined;
  options: Record<string, string>;
  labels: Record<string, string>;
  portGroup: string | undefined;
}

/** Throws EngineError. */
export function checkNetwork(body: NetworkCreateBody): NetworkWish {
  const { Name: name = "", Options: options, Labels: labels, IPAM: ipam } = body;
  if (!NAME.test(name) || name.length > LONGEST_NAME)
    throw invalid(`invalid network name: ${JSON.stringify(name)}: only ${NAME_CHARACTERS} are allowed`);
  checkDriver(body.Driver);
  checkNetworkFields(body);
  if (body.EnableIPv4 === false)
    throw notImplemented("a network without IPv4 is not supported: the control link of its containers uses IPv4");
  const options_ = options ?? {};
  checkOptions(options_);
  if (ipam?.Driver && ipam.Driver !== "default")
    throw notImplemented(
      `IPAM driver ${ipam.Driver} is not supported: addresses are given out by the endpoint. Use default`,
    );
  if (Object.keys(ipam?.Options ?? {}).length > 0)
    throw notImplemented("IPAM options are not supported: give subnet, gateway and range instead");
  const blocks = checkBlocks(ipam?.Config ?? [], body.EnableIPv6 === true);
  const mtu = options_[NETWORK_OPTION.mtu];
  if (blocks.ipv6 && mtu !== undefined && Number(mtu) < LOWEST_IPV6_MTU)
    throw invalid(
      `network option ${NETWORK_OPTION.mtu}=${mtu} is too small for IPv6, which needs ${LOWEST_IPV6_MTU}: raise it, or leave out --ipv6`,
    );
  return {
    name,
    internal: body.Internal === true,
    attachable: body.Attachable === true,
    ...blocks,
    options: options_,
    labels: labels ?? {},
    portGroup: options_[NETWORK_OPTION.portGroup],
  };
}

function checkDriver(driver: string | undefined): void {
  if (!driver || driver === "bridge" || driver === "default") return;
  const reason = DRIVERS[driver];
  if (driver === "host" || driver === "null") throw new EngineError("forbidden", String(reason));
  if (reason) throw notImplemented(`network driver ${driver} is not supported: ${reason}`);
  throw new EngineError("not-found", `could not find plugin ${driver} in v1 plugin registry: plugin not found`);
}

function checkOptions(options: Record<string, string>): void {
  for (const [name, value] of Object.entries(options)) {
    switch (name) {
      case NETWORK_OPTION.masquerade:
        if (!BOOLEAN.has(value)) throw invalid(`failed to parse ${name} value: ${JSON.stringify(value)}`);
        break;
      case NETWORK_OPTION.communication:
        if (value !== "true" && value !== "1")
          throw notImplemented(
            `network option ${name}=${value} is not supported: containers of one network share a layer 2 segment of vSphere. Give each its own network`,
          );
        break;
      case NETWORK_OPTION.mtu: {
        const mtu = Number(value);
        if (!/^\d{1,5}$/.test(value) || mtu < MTU_RANGE.lowest || mtu > MTU_RANGE.highest)
          throw invalid(`failed to parse ${name} value: ${JSON.stringify(value)}`);
        break;
      }
      case NETWORK_OPTION.hostBinding:
        if (!isIPv4(value)) throw invalid(`failed to parse ${name} value: ${JSON.stringify(value)}`);
        break;
      case NETWORK_OPTION.interfacePrefix:
        if (!/^[a-zA-Z][a-zA-Z0-9_.-]{0,9}$/.test(value) || value === "lo")
          throw invalid(`invalid interface prefix ${JSON.stringify(value)}: give at most 10 letters and digits`);
        break;
      case NETWORK_OPTION.portGroup:
        if (value === "") throw invalid(`network option ${name} needs the name of a port group`);
        break;
      case NETWORK_OPTION.bridgeName:
        throw notImplemented(
          `network option ${name} is not supported: a network is a port group of vSphere. Name one with -o ${NETWORK_OPTION.portGroup}=NAME`,
        );
      default:
        throw notImplemented(
          `network option ${name} is not supported: it would have no effect. Supported are ${Object.values(
            NETWORK_OPTION,
          )
            .filter((known) => known !== NETWORK_OPTION.bridgeName && known !== NETWORK_OPTION.defaultBridge)
            .join(", ")}`,
        );
    }
  }
}
