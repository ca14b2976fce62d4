/** All containers of the VCH by id, name and VM. Derived from inventory; nothing here is the only copy of anything. */
import type { VirtualMachineReference } from "../../vsphere/contract.ts";
import { conflict, invalid, notFound } from "../errors.ts";
import { NAME_CHARACTERS, NAME_RULE, randomName } from "../identifiers.ts";
import type { Container } from "./container.ts";

const DESTROYED_REMEMBERED = 1024;

export class ContainerTable {
  readonly #byId = new Map<string, Container>();
  readonly #byVm = new Map<string, Container>();
  /** Names in use, and reserved by creates and renames that are under way → id. */
  readonly #names = new Map<string, string>();
  readonly #creating = new Set<string>();
  /** Destroyed a short while ago: late news of their VMs must not bring them back. */
  readonly #destroyed = new Set<string>();

  get size(): number {
    return this.#byId.size + this.#creating.size;
  }

  all(): Container[] {
    return [...this.#byId.values()];
  }

  byId(id: string): Container | undefined {
    return this.#byId.get(id);
  }

  byVm(reference: VirtualMachineReference): Container | undefined {
    return this.#byVm.get(reference.value);
  }

  /** By full id, name, or unique id prefix, in Docker's order. Throws EngineError with Docker's texts. */
  get(reference: string): Container {
    const text = reference.startsWith("/") ? reference.slice(1) : reference;
    const exact = this.#byId.get(text) ?? this.#byId.get(this.#names.get(text) ?? "");
    if (exact) return exact;
    const matches = /^[0-9a-f]+$/.test(text) ? this.all().filter(({ id }) => id.startsWith(text)) : [];
    if (matches.length > 1) throw invalid(`Multiple IDs found with provided prefix: ${text}`);
    const [match] = matches;
    if (!match) throw notFound(`No such container: ${text}`);
    return match;
  }

  add(container: Container, vm: VirtualMachineReference): void {
    container.vm = vm;
    this.#byId.set(container.id, container);
    this.#byVm.set(vm.value, container);
    this.#names.set(container.name, container.id);
    this.#creating.delete(container.id);
  }

  drop(container: Container): void {
    this.#byId.delete(container.id);
    if (container.vm) this.#byVm.delete(container.vm.value);
    if (this.#names.get(container.name) === container.id) this.#names.delete(container.name);
  }

  /** Dropped for good. */
  destroyed(container: Container): void {
    this.drop(container);
    this.#destroyed.add(container.id);
    const [oldest] = this.#destroyed;
    if (this.#destroyed.size > DESTROYED_REMEMBERED && oldest !== undefined) this.#destroyed.delete(oldest);
  }

  /** A VM of this id that shows up in inventory is not to be taken up: it is being made, or was just destroyed. */
  isTransient(id: string): boolean {
    return this.#creating.has(id) || this.#destroyed.has(id);
  }

  /** Take a name and a place for a container that is about to be made. `release` gives them back unless it was added. */
  reserve(id: string, wanted: string | undefined): { name: string; release(): void } {
    const name = wanted === undefined ? this.#freeName() : this.#take(id, wanted);
    this.#names.set(name, id);
    this.#creating.add(id);
    return {
      name,
      release: () => {
        this.#creating.delete(id);
        if (!this.#byId.has(id)) this.releaseName(id, name);
      },
    };
  }

  /** Take another name for an existing container; the old one stays taken until releaseName. */
  reserveName(id: string, wanted: string): string {
    const name = this.#take(id, wanted);
    this.#names.set(name, id);
    return name;
  }

  releaseName(id: string, name: string): void {
    if (this.#names.get(name) === id) this.#names.delete(name);
  }

  #take(id: string, wanted: string): string {
    const name = wanted.replace(/^\//, "");
    if (!NAME_RULE.test(name)) throw invalid(`Invalid container name (${wanted}), only ${NAME_CHARACTERS} are allowed`);
    const owner = this.#names.get(name);
    if (owner !== undefined && owner !== id)
      throw conflict(
        `Conflict. The container name "/${name}" is already in use by container "${owner}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    return name;
  }

  #freeName(): string {
    for (let attempt = 0; ; attempt++) {
      const name = randomName(attempt);
      if (!this.#names.has(name)) return name;
    }
  }
}
