import { elfSection } from "../src/format/elf/section";
import { type KernelConfiguration, optionOfModule } from "./kernel-configuration";
import type { Kernel } from "./kernel-source";

/** What a module says about itself in its `.modinfo` section. */
interface ModuleFacts {
  path: string;
  depends: string[];
  /** Modules to load before it if they exist (`softdep: pre:`). */
  loadBefore: string[];
  aliases: string[];
  softdep: string[];
}

/** All modules of a kernel, and how they depend on each other. Names use `_`, as the kernel does. */
export class ModuleIndex {
  readonly #modules = new Map<string, ModuleFacts>();
  readonly #builtin: ReadonlySet<string>;
  readonly #configuration: KernelConfiguration;

  private constructor(builtin: readonly string[], configuration: KernelConfiguration) {
    this.#builtin = new Set(builtin.map(moduleName));
    this.#configuration = configuration;
  }

  static async of(kernel: Kernel): Promise<ModuleIndex> {
    const index = new ModuleIndex(kernel.builtin, kernel.configuration);
    for (const [path, module] of kernel.modules) {
      index.#modules.set(moduleName(path), factsOf(path, await module.bytes()));
    }
    return index;
  }

  isBuiltin(name: string): boolean {
    return this.#builtin.has(name) || this.#configuration.isBuiltin(name);
  }

  isLoadable(name: string): boolean {
    return this.#modules.has(name);
  }

  /**
   * Paths of the modules that must be loaded for `names`, dependencies first; what the kernel contains is left out.
   * @throws Error that names the module which the kernel has neither way
   */
  loadOrder(names: readonly string[]): string[] {
    const order = new Set<string>();
    const visit = (name: string, neededBy: string | undefined, trail: readonly string[]): void => {
      const facts = this.#modules.get(name);
      if (facts === undefined) {
        if (this.isBuiltin(name)) return;
        const reason = neededBy === undefined ? "container VMs need it" : `${neededBy} needs it`;
        const option = optionOfModule[name] === undefined ? "" : ` (CONFIG_${optionOfModule[name]})`;
        throw new Error(
          `the kernel has no module ${name}${option}, neither loadable nor built in, but ${reason}; use another kernel`,
        );
      }
      if (order.has(facts.path) || trail.includes(name)) return;
      const before = facts.loadBefore.filter((other) => this.#modules.has(other));
      for (const other of [...before, ...facts.depends]) visit(other, name, [...trail, name]);
      order.add(facts.path);
    };
    for (const name of names) visit(name, undefined, []);
    return [...order];
  }

  /** Text of `modules.dep` for a set of modules, so that `modprobe` works in the guest. */
  dependencyFile(paths: Iterable<string>): string {
    const lines = [...paths].map((path) => {
      const facts = this.#modules.get(moduleName(path));
      // Modprobe wants the nearest dependency first.
      const needed = this.loadOrder(facts?.depends ?? []).reverse();
      return `${path}:${needed.map((other) => ` ${other}`).join("")}\n`;
    });
    return lines.sort().join("");
  }

  /** Text of `modules.alias` for a set of modules. */
  aliasFile(paths: Iterable<string>): string {
    return this.#lines(paths, (name, { aliases }) => aliases.map((alias) => `alias ${alias} ${name}\n`));
  }

  /** Text of `modules.softdep` for a set of modules. */
  softDependencyFile(paths: Iterable<string>): string {
    return this.#lines(paths, (name, { softdep }) => softdep.map((text) => `softdep ${name} ${text}\n`));
  }

  #lines(paths: Iterable<string>, linesOf: (name: string, facts: ModuleFacts) => string[]): string {
    const lines = [...paths].flatMap((path) => {
      const name = moduleName(path);
      const facts = this.#modules.get(name);
      return facts === undefined ? [] : linesOf(name, facts);
    });
    return lines.sort().join("");
  }
}

/** `kernel/drivers/net/vmxnet3/vmxnet3.ko` → `vmxnet3`, with `-` as `_`. */
export function moduleName(path: string): string {
  return path
    .slice(path.lastIndexOf("/") + 1)
    .replace(/\.ko$/, "")
    .replaceAll("-", "_");
}

function factsOf(path: string, file: Uint8Array): ModuleFacts {
  const facts: ModuleFacts = { path, depends: [], loadBefore: [], aliases: [], softdep: [] };
  const section = elfSection(file, ".modinfo");
  if (section === undefined) throw new Error(`kernel module ${path} has no module information`);
  for (const item of Buffer.from(section).toString("utf8").split("\0")) {
    const [key, value] = [item.slice(0, item.indexOf("=")), item.slice(item.indexOf("=") + 1)];
    if (key === "depends" && value !== "") facts.depends = value.split(",").map(moduleName);
    if (key === "alias") facts.aliases.push(value);
    if (key === "softdep") {
      facts.softdep.push(value);
      const before = /pre:((?:\s+[^\s:]+(?!\S*:))*)/.exec(value)?.[1] ?? "";
      facts.loadBefore.push(...before.split(/\s+/).filter(Boolean).map(moduleName));
    }
  }
  return facts;
}
