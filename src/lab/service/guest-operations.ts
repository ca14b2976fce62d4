import { LabFault } from "../fault.ts";
import type { LabContext } from "../inventory/context.ts";
import type { Reference } from "../model/data.ts";
import { ManagedObject, type Method } from "../model/managed-object.ts";
import { invalidPowerState } from "../vm/power-control.ts";
import { VirtualMachine } from "../vm/virtual-machine.ts";

/** Methods by the manager that has them. */
const METHODS = {
  GuestAuthManager: ["ValidateCredentialsInGuest"],
  GuestProcessManager: [
    "StartProgramInGuest",
    "ListProcessesInGuest",
    "TerminateProcessInGuest",
    "ReadEnvironmentVariableInGuest",
  ],
  GuestFileManager: [
    "InitiateFileTransferFromGuest",
    "InitiateFileTransferToGuest",
    "ListFilesInGuest",
    "MakeDirectoryInGuest",
    "DeleteFileInGuest",
    "DeleteDirectoryInGuest",
    "MoveFileInGuest",
    "MoveDirectoryInGuest",
    "CreateTemporaryFileInGuest",
    "CreateTemporaryDirectoryInGuest",
    "ChangeFileAttributesInGuest",
  ],
} as const;

/**
 * Guest operations need VMware Tools in the guest. The guests of the lab have none (a container's tether speaks its own protocol), so
 * every operation answers as vSphere does for a VM without Tools.
 */
export function addGuestOperations(context: LabContext, reference: Reference): void {
  const { registry } = context;
  const unavailable: Method = (p) => {
    const vm = registry.getAs(VirtualMachine, p.vm, "vm");
    if (vm.powerState !== "poweredOn") throw invalidPowerState("poweredOn", vm.powerState);
    throw new LabFault(
      "GuestOperationsUnavailable",
      "The guest operations agent could not be contacted: VMware Tools is not running in this virtual machine.",
    );
  };
  const managers = Object.entries(METHODS).map(([type, names]) => {
    const manager = { type, value: `${reference.value}-${type}` };
    registry.add(new GuestManager(context, manager, Object.fromEntries(names.map((name) => [name, unavailable]))));
    return manager;
  });
  const of = (type: keyof typeof METHODS): Reference | undefined => managers.find((manager) => manager.type === type);
  registry.add(
    new GuestManager(
      context,
      reference,
      {},
      {
        authManager: () => of("GuestAuthManager"),
        fileManager: () => of("GuestFileManager"),
        processManager: () => of("GuestProcessManager"),
      },
    ),
  );
}

class GuestManager extends ManagedObject {
  constructor(
    context: LabContext,
    reference: Reference,
    methods: Record<string, Method>,
    properties: Record<string, () => Reference | undefined> = {},
  ) {
    super(context.registry, reference);
    this.methods(methods);
    this.properties(properties);
  }
}
