/** Loader VMs: started when needed, shared by a few pieces of work, kept a while when idle, destroyed with the engine. */
import type { DatastorePath } from "../../vsphere/contract.ts";
import { LOADER_KEY } from "../containers/document.ts";
import type { InfrastructureContext } from "../context.ts";
import { EngineError } from "../errors.ts";
import { LOADER_COUNT, LOADER_IDLE, LOADER_JOBS } from "../limits.ts";
import type { LoaderDisk, LoaderPool } from "./contract.ts";
import { Loader } from "./loader.ts";
import { PathLocks } from "./path-locks.ts";

/** The pool, with what containers need of it besides. */
export interface VirtualMachineLoaders extends LoaderPool {
  /** Keep loaders off these disks (a container starts or goes). Waits until they have let go. */
  reserve(paths: readonly DatastorePath[]): Promise<() => void>;
}

/** How long is told in tests. */
export interface LoaderPoolOptions {
  idleMilliseconds?: number;
}

export class Loaders implements VirtualMachineLoaders {
  readonly #context: InfrastructureContext;
  readonly #idleMilliseconds: number;
  readonly #locks = new PathLocks();
  readonly #loaders = new Set<Loader>();
  readonly #idle = new Map<Loader, ReturnType<typeof setTimeout>>();
  readonly #waiting: (() => void)[] = [];
  readonly #removals = new Set<Promise<boolean>>();
  #closed = false;

  constructor(context: InfrastructureContext, options: LoaderPoolOptions = {}) {
    this.#context = context;
    this.#idleMilliseconds = options.idleMilliseconds ?? LOADER_IDLE;
  }

  reserve(paths: readonly DatastorePath[]): Promise<() => void> {
    return this.#locks.acquire([...new Set(paths)].map((path) => ({ path, shared: false })));
  }

  async use<T>(
    disks: LoaderDisk[],
    work: (loader: Parameters<Parameters<LoaderPool["use"]>[1]>[0]) => Promise<T>,
  ): Promise<T> {
    const release = await this.#locks.acquire(disks.map(({ path, readOnly }) => ({ path, shared: readOnly })));
    let loader: Loader | undefined;
    try {
      loader = await this.#take();
      try {
        return await loader.work(disks, work);
      } finally {
        this.#give(loader);
      }
    } finally {
      // A loader that could not detach its disks holds them until its VM is gone.
      if (loader?.broken && loader.holdsAny(disks)) void loader.gone.then(release);
      else release();
    }
  }

  /** Destroys every loader; work that is under way fails. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting.splice(0)) wake();
    for (const loader of [...this.#loaders]) this.#dispose(loader);
    await Promise.all(this.#removals);
  }

  /** Loaders that an engine left behind when it was killed. Their disks are detached and stay. */
  async removeLeftovers(): Promise<void> {
    const { view, vsphere, log } = this.#context;
    for (const record of view.list().filter((vm) => vm.extraConfig.get(LOADER_KEY))) {
      try {
        await vsphere.powerOff(record.reference);
        // Everything attached to a loader belongs to somebody else.
        await vsphere.destroyVm(record.reference, { keepDisks: loaderDisks(record.extraConfig.get(LOADER_KEY)) });
      } catch (error) {
        log(
          `loader VM ${record.name} of an earlier run cannot be removed: ${error instanceof Error ? error.message : error}`,
        );
      }
    }
  }

  async #take(): Promise<Loader> {
    for (;;) {
      if (this.#closed) throw new EngineError("unavailable", "the endpoint is stopping");
      const usable = [...this.#loaders].filter((loader) => !loader.broken && loader.jobs < LOADER_JOBS);
      const least = usable.sort((a, b) => a.jobs - b.jobs)[0];
      if (least && (least.jobs === 0 || this.#loaders.size >= LOADER_COUNT)) return this.#enter(least);
      if (this.#loaders.size < LOADER_COUNT) {
        const loader = new Loader(this.#context);
        this.#loaders.add(loader);
        return this.#enter(loader);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #enter(loader: Loader): Loader {
    loader.jobs++;
    clearTimeout(this.#idle.get(loader));
    this.#idle.delete(loader);
    return loader;
  }

  #give(loader: Loader): void {
    loader.jobs--;
    if (loader.broken && loader.jobs === 0) this.#dispose(loader);
    else if (loader.jobs === 0)
      this.#idle.set(
        loader,
        setTimeout(() => this.#dispose(loader), this.#idleMilliseconds),
      );
    this.#waiting.shift()?.();
  }

  #dispose(loader: Loader): void {
    clearTimeout(this.#idle.get(loader));
    this.#idle.delete(loader);
    if (!this.#loaders.delete(loader)) return;
    const { untilDone } = this.#context;
    const what = `removing loader VM ${loader.id}`;
    const removal = untilDone.run(what, () => loader.destroy()).finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
    void removal.then(() => untilDone.settled(what)).then(() => loader.isGone());
    this.#waiting.shift()?.();
  }
}

/** The loader's mark lists the disks that were attached; see Loader. */
function loaderDisks(text: string | undefined): DatastorePath[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(value) ? value.filter((path): path is string => typeof path === "string") : [];
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}
