/** Subnets that hosts can be on. */
import { type Family, type IpNetwork, parseNetwork } from "../format/ip-address.ts";
import { NetworkError } from "./contract.ts";

/** Longest prefix with room for a gateway and a container. */
const LONGEST_PREFIX: Record<Family, number> = { 4: 30, 6: 126 };

/** Parses `address/length`; host bits may be set and are cleared. Throws NetworkError `invalid`. */
export function hostSubnet(text: string): IpNetwork {
  const subnet = parseNetwork(text);
  if (subnet === undefined || subnet.prefixLength < 1 || subnet.prefixLength > LONGEST_PREFIX[subnet.family]) {
    const is6 = text.includes(":");
    throw new NetworkError(
      "invalid",
      `invalid subnet ${text}: expected an ${is6 ? "IPv6" : "IPv4"} network such as ${is6 ? "fd00:18::/64 (/1 to /126)" : "172.18.0.0/16 (/1 to /30)"}`,
    );
  }
  return subnet;
}
