import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { setCustomValue, vimField } from "../inventory/custom-values.ts";
import { Entity } from "../inventory/entity.ts";
import type { StoredField } from "../inventory/inventory-store.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";
import { isManagedType } from "../model/schema.ts";

const FIELD_LIMIT = 1000;
/** First key of a field, as on vCenter. */
const FIRST_KEY = 100;

export class CustomFieldsManager extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    this.properties({ field: () => this.#fields.map(vimField) });
    this.methods({
      AddCustomFieldDef: (p) => this.#add(p.name as string, p.moType as string | undefined),
      RenameCustomFieldDef: async (p) => {
        const field = this.#find(p.key as number);
        this.#requireFree(p.name as string, field);
        await this.#store(
          this.#fields.map((known) => (known === field ? { ...field, name: p.name as string } : known)),
        );
      },
      RemoveCustomFieldDef: async (p) => {
        const field = this.#find(p.key as number);
        const { inventory } = context.store;
        inventory.customValues = (inventory.customValues ?? []).filter(({ key }) => key !== field.key);
        await this.#store(this.#fields.filter((known) => known !== field));
      },
      SetField: (p) =>
        setCustomValue(
          context.store,
          context.registry.getAs(Entity, p.entity, "entity"),
          p.key as number,
          p.value as string,
        ),
    });
  }

  get #fields(): readonly StoredField[] {
    return this.context.store.inventory.customFields ?? [];
  }

  async #add(name: string, type: string | undefined) {
    this.#requireFree(name);
    if (type !== undefined && !isManagedType(type)) {
      throw new LabFault("InvalidType", `'${type}' is not a managed object type.`, { argument: type });
    }
    if (this.#fields.length >= FIELD_LIMIT) throw new LabFault("LimitExceeded", `There are ${FIELD_LIMIT} fields.`);
    const field = { key: Math.max(FIRST_KEY, ...this.#fields.map(({ key }) => key)) + 1, name, type };
    await this.#store([...this.#fields, field]);
    return vimField(field);
  }

  #find(key: number): StoredField {
    const field = this.#fields.find((known) => known.key === key);
    if (field) return field;
    throw new LabFault("InvalidArgument", `A specified parameter was not correct: key. There is no field ${key}.`, {
      invalidProperty: "key",
    });
  }

  #requireFree(name: string, self?: StoredField): void {
    if (name.trim() === "") throw new LabFault("InvalidName", "A field needs a name.", { name });
    const other = this.#fields.find((known) => known !== self && known.name === name);
    if (other) {
      throw new LabFault("DuplicateName", `The name '${name}' already exists.`, { name, object: this.reference });
    }
  }

  async #store(fields: readonly StoredField[]): Promise<void> {
    this.context.store.inventory.customFields = [...fields];
    this.changed("field");
    await this.context.store.save();
  }
}
