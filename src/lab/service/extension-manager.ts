import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import { type DataObject, data, type Reference } from "../model/data.ts";
import { ManagedObject } from "../model/managed-object.ts";

const EXTENSION_LIMIT = 1000;

/** Extensions that registered with vCenter: kept and told, nothing more. */
export class ExtensionManager extends ManagedObject {
  constructor(
    private readonly context: LabContext,
    reference: Reference,
  ) {
    super(context.registry, reference);
    this.properties({ extensionList: () => this.#all.map(vimExtension) });
    this.methods({
      FindExtension: (p) => {
        const found = this.#all.find(({ key }) => key === p.extensionKey);
        return found && vimExtension(found);
      },
      RegisterExtension: async (p) => {
        const extension = p.extension as DataObject;
        if (this.#all.some(({ key }) => key === extension.key)) {
          throw new LabFault("InvalidArgument", "A specified parameter was not correct: extension.key. It exists.", {
            invalidProperty: "extension.key",
          });
        }
        if (this.#all.length >= EXTENSION_LIMIT) {
          throw new LabFault("LimitExceeded", `There are ${EXTENSION_LIMIT} extensions already.`);
        }
        await this.#store([...this.#all, stored(extension)]);
      },
      UpdateExtension: async (p) => {
        const extension = p.extension as DataObject;
        const known = this.#find(String(extension.key));
        await this.#store(this.#all.map((other) => (other === known ? stored(extension) : other)));
      },
      UnregisterExtension: async (p) => {
        const known = this.#find(p.extensionKey as string);
        await this.#store(this.#all.filter((other) => other !== known));
      },
      SetExtensionCertificate: (p) => {
        this.#find(p.extensionKey as string);
        throw new LabFault("NotSupported", "The lab has no login by certificate; use a user name and a password.");
      },
    });
  }

  get #all() {
    return this.context.store.inventory.extensions ?? [];
  }

  #find(key: string) {
    const known = this.#all.find((extension) => extension.key === key);
    if (known) return known;
    throw new LabFault("NotFound", `The extension '${key}' is not registered.`);
  }

  async #store(extensions: ReturnType<typeof stored>[]): Promise<void> {
    this.context.store.inventory.extensions = extensions;
    this.changed("extensionList");
    await this.context.store.save();
  }
}

/** Dates do not survive JSON: the one that every extension has is kept apart, and those of others are left out. */
function stored(extension: DataObject) {
  const { lastHeartbeatTime, healthInfo: _health, ...rest } = extension;
  const heartbeat = lastHeartbeatTime instanceof Date ? lastHeartbeatTime : new Date();
  return { key: String(extension.key), heartbeat: heartbeat.toISOString(), extension: rest as DataObject };
}

const vimExtension = ({ heartbeat, extension }: ReturnType<typeof stored>): DataObject =>
  data("Extension", { ...extension, lastHeartbeatTime: new Date(heartbeat) });
