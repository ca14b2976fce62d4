/** Which of a container's networks carries its default routes and its published ports. */
import type { ContainerDocument, EndpointRecord } from "../containers/document.ts";
import type { InfrastructureContext } from "../context.ts";

/**
 * The endpoint that carries the default route and the published ports: as in Docker the one with the highest priority, then
 * one on a container network, which needs nobody on the way, then the first by name; internal networks never.
 */
export function gatewayEndpoint(
  context: Pick<InfrastructureContext, "networks">,
  { endpoints }: Pick<ContainerDocument, "endpoints">,
): EndpointRecord | undefined {
  const candidates = Object.entries(endpoints).filter(
    ([, { networkId }]) => context.networks.byId(networkId)?.internal !== true,
  );
  const priority = ({ given }: EndpointRecord): number => given.GwPriority ?? 0;
  const rank = ({ external }: EndpointRecord): number => (external ? 0 : 1);
  candidates.sort(
    ([a, one], [b, other]) => priority(other) - priority(one) || rank(one) - rank(other) || (a < b ? -1 : 1),
  );
  return candidates[0]?.[1];
}

/** The one whose ports the endpoint of this VCH publishes: none when the default route is on a container network. */
export function publishingPlace(
  context: Pick<InfrastructureContext, "networks">,
  document: Pick<ContainerDocument, "endpoints">,
): EndpointRecord | undefined {
  const endpoint = gatewayEndpoint(context, document);
  return endpoint?.external ? undefined : endpoint;
}

/** The endpoint that carries IPv6's default route: as in Docker another one where the first has no IPv6. */
export function gatewayEndpoint6(
  context: Pick<InfrastructureContext, "networks">,
  document: Pick<ContainerDocument, "endpoints">,
): EndpointRecord | undefined {
  const endpoints = Object.entries(document.endpoints).filter(([, { ipv6 }]) => ipv6 !== undefined);
  return gatewayEndpoint(context, { endpoints: Object.fromEntries(endpoints) });
}
