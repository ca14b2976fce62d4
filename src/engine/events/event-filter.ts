/** The filters of `docker events`. */
import type { DockerEvent, Filters } from "../contract.ts";
import { anyOf, labelsMatch } from "../filters.ts";

/** Kinds of things that this engine has none of: a filter for one matches nothing. */
const ABSENT = ["plugin", "node", "service", "secret", "config"];
/** What events can be chosen by. */
export const EVENT_FILTERS: readonly string[] = [
  ...["type", "event", "scope", "container", "image", "volume", "network", "daemon", "label", "label!"],
  ...ABSENT,
];

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
    ABSENT.every((type) => anyOf(filters, type, () => false)) &&
    labelsMatch(filters, Attributes)
  );
}
