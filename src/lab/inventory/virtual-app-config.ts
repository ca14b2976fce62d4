import { invalidArgument, notSupported } from "../fault.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import type { LabContext } from "./context.ts";
import type { StoredVirtualApp } from "./inventory-store.ts";

type Config = Pick<StoredVirtualApp, "annotation" | "entities">;

/** A VAppConfigSpec laid over what held before. What only OVF environments in a guest would use is refused. */
export function checkedVAppConfig(context: LabContext, spec: DataObject, before: Config): Config {
  const known = new Set(["_type", "annotation", "entityConfig", "instanceUuid"]);
  const other = Object.entries(spec).find(
    ([name, value]) => !known.has(name) && value !== undefined && !(Array.isArray(value) && value.length === 0),
  );
  if (other) throw notSupported(`vApps of the lab have no '${other[0]}'; leave it out.`);
  const entities = [...before.entities];
  for (const info of (spec.entityConfig as DataObject[] | undefined) ?? []) {
    const { value: id } = (info.key ?? {}) as Partial<Reference>;
    if (id === undefined || !context.inventory.findVirtualMachine(id)) {
      throw invalidArgument("spec.entityConfig.key", "It is no VM.");
    }
    const at = entities.findIndex((known) => known.id === id);
    const old = entities[at] ?? { startOrder: 0, startDelay: 0, startAction: "powerOn", stopAction: "powerOff" };
    const next = {
      id,
      startOrder: (info.startOrder as number | undefined) ?? old.startOrder,
      startDelay: (info.startDelay as number | undefined) ?? old.startDelay,
      startAction: checkedAction("startAction", info.startAction, ["powerOn", "none"]) ?? old.startAction,
      stopAction:
        checkedAction("stopAction", info.stopAction, ["powerOff", "guestShutdown", "suspend", "none"]) ??
        old.stopAction,
    };
    if (at < 0) entities.push(next);
    else entities[at] = next;
  }
  return { annotation: (spec.annotation as string | undefined) ?? before.annotation, entities };
}

function checkedAction(field: string, given: unknown, actions: readonly string[]): string | undefined {
  if (given === undefined || given === "") return undefined;
  if (actions.includes(String(given))) return String(given);
  throw invalidArgument(`spec.entityConfig.${field}`, `It is one of ${actions.join(", ")}.`);
}

export const vAppConfigInfo = ({ annotation, instanceUuid, entities }: StoredVirtualApp): DataObject =>
  data("VAppConfigInfo", {
    annotation,
    instanceUuid,
    entityConfig: entities.map(({ id, ...config }) =>
      data("VAppEntityConfigInfo", { key: { type: "VirtualMachine", value: id }, ...config }),
    ),
    ipAssignment: data("VAppIPAssignmentInfo", {}),
    installBootRequired: false,
    installBootStopDelay: 0,
  });
