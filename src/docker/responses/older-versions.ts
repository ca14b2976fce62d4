/** What older API versions show differently from the newest shapes, which the engine produces. */
import type { Schemas } from "../../engine/contract.ts";
import type { ApiVersion } from "../api-version.ts";

type Fields = Record<string, unknown>;

const omit = (value: Fields, ...names: string[]): Fields =>
  Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));

export function containerSummaryForVersion(summary: Schemas["ContainerSummary"], version: ApiVersion): Fields {
  let result: Fields = summary;
  if (version < 52) result = omit(result, "Health");
  if (version < 48) result = omit(result, "ImageManifestDescriptor");
  if (version < 46 && summary.HostConfig !== undefined) {
    result = { ...result, HostConfig: omit(summary.HostConfig, "Annotations") };
  }
  return result;
}

/** Up to 1.51 the address of the `bridge` network also stood beside the list of networks. */
export function containerInspectForVersion(
  container: Schemas["ContainerInspectResponse"],
  version: ApiVersion,
): Fields {
  let result: Fields = container;
  if (version < 48) result = omit(result, "ImageManifestDescriptor");
  if (version >= 52) return result;
  const settings = container.NetworkSettings;
  if (settings === undefined) return result;
  const bridge = settings.Networks?.bridge;
  return {
    ...result,
    NetworkSettings: {
      Bridge: "",
      HairpinMode: false,
      LinkLocalIPv6Address: "",
      LinkLocalIPv6PrefixLen: 0,
      SecondaryIPAddresses: null,
      SecondaryIPv6Addresses: null,
      EndpointID: bridge?.EndpointID ?? "",
      Gateway: bridge?.Gateway ?? "",
      GlobalIPv6Address: bridge?.GlobalIPv6Address ?? "",
      GlobalIPv6PrefixLen: bridge?.GlobalIPv6PrefixLen ?? 0,
      IPAddress: bridge?.IPAddress ?? "",
      IPPrefixLen: bridge?.IPPrefixLen ?? 0,
      IPv6Gateway: bridge?.IPv6Gateway ?? "",
      MacAddress: bridge?.MacAddress ?? "",
      ...settings,
    },
  };
}

export function imageSummaryForVersion(image: Schemas["ImageSummary"], version: ApiVersion): Fields {
  let result: Fields = image;
  if (version < 48) result = omit(result, "Descriptor");
  if (version < 47) result = omit(result, "Manifests");
  if (version < 44) result = { ...result, VirtualSize: image.Size };
  return result;
}

export function imageInspectForVersion(image: Schemas["ImageInspect"], version: ApiVersion): Fields {
  let result: Fields = image;
  if (version < 53) result = omit(result, "Identity");
  if (version < 52) result = { Parent: "", Comment: "", DockerVersion: "", Author: "", ...result };
  if (version < 48) result = omit(result, "Descriptor", "Manifests");
  if (version < 44) result = { ...result, VirtualSize: image.Size };
  return result;
}

export function networkForVersion(network: Schemas["NetworkInspect"], version: ApiVersion): Fields {
  let result: Fields = network;
  if (version < 52) result = omit(result, "Status");
  if (version < 48) result = omit(result, "EnableIPv4");
  return result;
}

export function infoForVersion(info: Schemas["SystemInfo"], version: ApiVersion): Fields {
  let result: Fields = info;
  if (version < 53) result = omit(result, "NRI");
  if (version < 50)
    result = { ...omit(result, "DiscoveredDevices"), BridgeNfIptables: false, BridgeNfIp6tables: false };
  if (version < 49) result = omit(result, "FirewallBackend");
  if (version < 46) result = omit(result, "Containerd");
  return result;
}
