/** Custom fields of entities and their values, as an administrator defines them. */
import { LabFault } from "../fault.ts";
import { type DataObject, data } from "../model/data.ts";
import type { ManagedObject } from "../model/managed-object.ts";
import type { InventoryStore, StoredField } from "./inventory-store.ts";

const VALUE_LIMIT = 65_536;

export const vimField = ({ key, name, type }: StoredField): DataObject =>
  data("CustomFieldDef", { key, name, type: "string", managedObjectType: type });

/** Fields that an entity of the type can have. */
export const customFields = ({ inventory }: InventoryStore, type: string): DataObject[] =>
  (inventory.customFields ?? []).filter((field) => field.type === undefined || field.type === type).map(vimField);

export const customValues = ({ inventory }: InventoryStore, object: ManagedObject): DataObject[] =>
  (inventory.customValues ?? [])
    .filter(({ entity }) => entity === object.key)
    .map(({ key, value }) => data("CustomFieldStringValue", { key, value }));

/** Sets a value; an empty one unsets it. */
export async function setCustomValue(
  store: InventoryStore,
  object: ManagedObject,
  key: number,
  value: string,
): Promise<void> {
  const { inventory } = store;
  const field = inventory.customFields?.find((known) => known.key === key);
  if (!field || (field.type !== undefined && field.type !== object.reference.type)) {
    throw new LabFault("InvalidArgument", "A specified parameter was not correct: key. There is no such field here.", {
      invalidProperty: "key",
    });
  }
  if (value.length > VALUE_LIMIT) {
    throw new LabFault("InvalidArgument", `A custom value has at most ${VALUE_LIMIT} characters.`, {
      invalidProperty: "value",
    });
  }
  const others = (inventory.customValues ?? []).filter((known) => known.entity !== object.key || known.key !== key);
  inventory.customValues = value === "" ? others : [...others, { entity: object.key, key, value }];
  object.changed("value", "customValue", "summary");
  await store.save();
}
