/** The filters of `docker events`. */
import type { DockerEvent, Filters } from "../contract.ts";
import { anyOf, labelsMatch } from "../filters.ts";

export function eventMatches(event: DockerEvent, filters: Filters): boolean {
  const { ID, Attributes } = event.Actor;
  const isActor = (type: string, value: string): boolean =>
    event.Type === type ? ID === value || ID.startsWith(value) || Attributes.name === value : false;
  return (
    anyOf(filters, "type", (value) => event.Type === value) &&
    // "exec_create: sh" is matched by "exec_create", "health_status: healthy" by "health_status".
    anyOf(filters, "event", (value) => event.Action === value || event.Action.startsWith(`${value}: `)) &&
    anyOf(filters, "scope", (value) => event.scope === value) &&
    anyOf(
      filters,
      "container",
      (value) =>
        isActor("container", value) ||
        (event.Type !== "container" && Attributes.container !== undefined && Attributes.container.startsWith(value)),
    ) &&
    anyOf(filters, "image", (value) => {
      const name = event.Type === "image" ? (Attributes.name ?? ID) : Attributes.image;
      return (event.Type === "image" && ID === value) || name === value || name?.split(":")[0] === value;
    }) &&
    anyOf(filters, "volume", (value) => isActor("volume", value)) &&
    anyOf(filters, "network", (value) => isActor("network", value)) &&
    anyOf(filters, "daemon", (value) => isActor("daemon", value)) &&
    labelsMatch(filters, Attributes)
  );
}
