import { LabFault } from "../fault.ts";
import { Question } from "./question.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

const RETRY = "0";
const CANCEL = "1";
const TEXT =
  "There is no more space for a virtual disk of this virtual machine. You might be able to continue this session by freeing disk space on the relevant volume, and clicking Retry. Click Cancel to terminate this session.";

/** As on ESXi, a VM whose disk cannot grow stands still and asks; its guest sees no error. */
export async function askForSpace(vm: VirtualMachine): Promise<void> {
  // Several disks, or several writes to one, may fail before the guest stands still.
  if (vm.isAsking) return;
  try {
    const answer = await vm.ask(question());
    if (answer === RETRY) await vm.machine?.resume();
    else await vm.machine?.powerOff();
  } catch (error) {
    // Withdrawn: the VM was powered off, or the lab stops. It asks anew when the next lab lets it go on.
    if (!(error instanceof LabFault && error.fault === "RequestCanceled")) throw error;
  }
}

const question = (): Question =>
  new Question(
    "msg.hbacommon.outofspace",
    TEXT,
    [
      { key: RETRY, label: "button.retry", summary: "Retry" },
      { key: CANCEL, label: "button.cancel", summary: "Cancel" },
    ],
    0,
  );
