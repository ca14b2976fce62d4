import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type GuestInfoStore, HypervisorError } from "../hypervisor/contract.ts";
import { isGuestInfo, mergeEntries } from "./extra-config.ts";

/**
 * guestinfo values that were set while the VM runs, by the guest or through the API. They hide the lasting ones of the
 * configuration and go away with the power. Kept in a file because the VM outlives a restart of the lab.
 */
export class VolatileGuestInfo {
  /** Set values; "" hides a lasting one that was deleted. */
  #values: Map<string, string>;

  private constructor(
    private readonly file: string,
    values: Map<string, string>,
  ) {
    this.#values = values;
  }

  static async open(stateDirectory: string, id: string): Promise<VolatileGuestInfo> {
    const directory = join(stateDirectory, "running");
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, `${id}.json`);
    if (!existsSync(file)) return new VolatileGuestInfo(file, new Map());
    try {
      return new VolatileGuestInfo(file, new Map(JSON.parse(await readFile(file, "utf8")) as [string, string][]));
    } catch (error) {
      if (error instanceof SyntaxError) return new VolatileGuestInfo(file, new Map());
      throw error;
    }
  }

  /** The lasting entries with the volatile ones over them. */
  over(lasting: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
    return this.#values.size === 0 ? lasting : mergeEntries(lasting, [...this.#values]);
  }

  /** Sets values after checking that they fit together with the lasting ones. Written before it returns: a guest relies on it. */
  set(lasting: ReadonlyMap<string, string>, changes: readonly [string, string][]): void {
    const values = new Map(this.#values);
    for (const [key, value] of changes) values.set(key, value);
    mergeEntries(lasting, [...values]);
    this.#values = values;
    const temporary = `${this.file}.new`;
    writeFileSync(temporary, JSON.stringify([...values]), { mode: 0o600 });
    renameSync(temporary, this.file);
  }

  clear(): void {
    this.#values = new Map();
    rmSync(this.file, { force: true });
  }
}

/** Longest message of a guest, key and value, as on ESXi. */
const MESSAGE_LIMIT = 64 * 1024;

/** guestinfo as the guest reaches it through RPCI. */
export function guestInfoStore(vm: {
  effectiveExtraConfig(): ReadonlyMap<string, string>;
  setFromGuest(key: string, value: string): void;
  guestSpoke(): void;
}): GuestInfoStore {
  return {
    get: (key) => {
      vm.guestSpoke();
      return isGuestInfo(key) ? vm.effectiveExtraConfig().get(key) : undefined;
    },
    set: (key, value) => {
      vm.guestSpoke();
      if (!isGuestInfo(key)) throw new HypervisorError("InvalidArgument", "Permission denied");
      if (Buffer.byteLength(key) + Buffer.byteLength(value) > MESSAGE_LIMIT) {
        throw new HypervisorError("InvalidArgument", "Value too long");
      }
      vm.setFromGuest(key, value);
    },
  };
}
