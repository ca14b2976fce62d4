/**
 * A full datastore as VMs meet it: vSphere lets a VM whose thin disk cannot grow stand still, and asks what to do. A container
 * waits, as its process would be harmed by an error of its disk, and goes on by itself once there is space. A loader is ended:
 * the request that it works for fails with Docker's words, and what it wrote is thrown away.
 */
import type { VirtualMachineRecord, VirtualMachineReference, VSphere } from "../vsphere/contract.ts";
import { EngineError } from "./errors.ts";
import { OUT_OF_SPACE_CHECK, OUT_OF_SPACE_ENOUGH } from "./limits.ts";

/** Ids in vSphere's message catalogue: a virtual disk, and the change file of a snapshot, cannot grow. */
const OUT_OF_SPACE = new Set(["msg.hbacommon.outofspace", "msg.hbacommon.outofspace.redo"]);

export interface SpaceQuestion {
  id: string;
  /** Key of the choice to try again. */
  retry: string | undefined;
}

/** The VM's question about space, if that is what it waits for. */
export function spaceQuestion({ question }: VirtualMachineRecord): SpaceQuestion | undefined {
  if (!question?.messages.some((id) => OUT_OF_SPACE.has(id))) return undefined;
  const retry = question.choices.find(({ label, summary }) => /retry/i.test(`${label} ${summary}`));
  return { id: question.id, retry: retry?.key };
}

export const noSpaceLeft = (datastore: string): EngineError =>
  new EngineError(
    "internal",
    `no space left on device: the datastore ${datastore} is full: remove images, containers or volumes, or enlarge it, and try again`,
  );

/** Lets VMs that stand still for want of space go on when there is some. */
export class SpaceWaiters {
  /** Names of the VMs and their questions, by reference. */
  readonly #waiting = new Map<string, { name: string; vm: VirtualMachineReference; question: SpaceQuestion }>();
  readonly #vsphere: Pick<VSphere, "answer" | "files">;
  readonly #log: (message: string) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(vsphere: Pick<VSphere, "answer" | "files">, log: (message: string) => void) {
    this.#vsphere = vsphere;
    this.#log = log;
  }

  /** What inventory says of a container's VM; `undefined` when it is gone. */
  update(name: string, vm: VirtualMachineReference, record: VirtualMachineRecord | undefined): void {
    const question = record && spaceQuestion(record);
    const known = this.#waiting.get(vm.value);
    if (question === undefined) {
      if (known && record) this.#log(`container ${name}: no longer waits for space on the datastore`);
      this.#waiting.delete(vm.value);
      return;
    }
    if (known === undefined)
      this.#log(
        `container ${name} stands still: the datastore ${this.#vsphere.files.datastore} is full. It goes on when there is space: remove images, containers or volumes, or enlarge it`,
      );
    this.#waiting.set(vm.value, { name, vm, question });
    this.#checkLater();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #checkLater(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#check().finally(() => {
        if (this.#waiting.size > 0) this.#checkLater();
      });
    }, OUT_OF_SPACE_CHECK);
  }

  async #check(): Promise<void> {
    try {
      const { freeBytes } = await this.#vsphere.files.space();
      if (freeBytes < OUT_OF_SPACE_ENOUGH) return;
      for (const { vm, question } of [...this.#waiting.values()])
        if (question.retry !== undefined) await this.#vsphere.answer(vm, question.id, question.retry);
    } catch (error) {
      // Somebody else may have answered in between; whatever it is, the next check comes.
      this.#log(`waiting for space on the datastore: ${error instanceof Error ? error.message : error}`);
    }
  }
}
