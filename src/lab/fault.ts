import type { LocalizedMethodFault, ManagedObjectReference, MethodFault } from "../vsphere/vim25/index.ts";
import { HypervisorError } from "./hypervisor/contract.ts";
import type { DataObject, Reference } from "./model/data.ts";

/** Name of a fault type in the vim25 schema. */
export type FaultName = MethodFault["_type"];
/** References of any type fit: which object it is shows only at run time. */
type Field<T> = T extends ManagedObjectReference<string> ? Reference : T;
type OwnFields<T> = { [K in keyof T as Exclude<K, "_type" | "faultCause" | "faultMessage">]: Field<T[K]> };
type FieldsOf<F extends FaultName> = OwnFields<Extract<MethodFault, { _type: F }>>;
/** The fault's own fields as a last argument, which may be left out when none of them is required. */
export type FaultFields<F extends FaultName> = F extends FaultName
  ? Record<never, never> extends FieldsOf<F>
    ? [fields?: FieldsOf<F>]
    : [fields: FieldsOf<F>]
  : never;

/**
 * A vim25 fault on its way to a client: thrown by a method it becomes the SOAP fault of the call, thrown inside a task it
 * becomes `TaskInfo.error`. A fault without its required fields cannot be sent, and does not compile.
 */
export class LabFault<F extends FaultName = FaultName> extends Error {
  override readonly name = "LabFault";
  readonly fields: Readonly<Record<string, unknown>>;

  /**
   * @param fault Type name in the vim25 schema, for example `InvalidPowerState`.
   * @param message What clients print: one line, what and why.
   * @param fields The fault type's own fields.
   */
  constructor(
    readonly fault: F,
    message: string,
    ...[fields]: FaultFields<F>
  ) {
    super(message);
    this.fields = { ...fields };
  }
}

export const invalidArgument = (property: string, why: string): LabFault =>
  new LabFault("InvalidArgument", `A specified parameter was not correct: ${property}. ${why}`, {
    invalidProperty: property,
  });

export const notSupported = (what: string): LabFault =>
  new LabFault("NotSupported", `The operation is not supported on the object: ${what}`);

export const fileNotFound = (path: string): LabFault =>
  new LabFault("FileNotFound", `File ${path} was not found`, { file: path });

export const fileAlreadyExists = (path: string): LabFault =>
  new LabFault("FileAlreadyExists", `Cannot complete the operation because the file or folder ${path} already exists`, {
    file: path,
  });

export const fileLocked = (path: string, by: string): LabFault =>
  new LabFault("FileLocked", `Unable to access file ${path} since it is locked by ${by}`, { file: path });

export const invalidDatastorePath = (path: string): LabFault =>
  new LabFault("InvalidDatastorePath", `Invalid datastore path '${path}'.`, { datastorePath: path });

export const noDiskSpace = (path: string, datastore: string): LabFault =>
  new LabFault("NoDiskSpace", `There is not enough space on datastore ${datastore} for ${path}`, {
    file: path,
    datastore,
  });

/**
 * What the hypervisor reports, as a fault.
 * @param file Datastore path that it is about, where the caller knows it.
 */
export function hypervisorFault({ fault, message }: HypervisorError, file = "", datastore = ""): LabFault {
  switch (fault) {
    case "GenericVmConfigFault":
      return new LabFault(fault, message, { reason: message });
    case "HostConfigFault":
    case "InsufficientResourcesFault":
    case "InvalidArgument":
    case "InvalidDiskFormat":
    case "InvalidState":
    case "LimitExceeded":
    case "NotFound":
      return new LabFault(fault, message);
    case "InvalidDatastorePath":
      return file === "" ? new LabFault(fault, message, { datastorePath: file }) : invalidDatastorePath(file);
    case "InvalidPowerState":
      return new LabFault(fault, message, { existingState: "poweredOff" });
    case "NoDiskSpace":
      return file === "" ? new LabFault(fault, message, { file, datastore }) : noDiskSpace(file, datastore);
    default:
      return new LabFault(fault, message, { file });
  }
}

/** A fault as a value inside of other data. */
export const localizedFault = (fault: LabFault): LocalizedMethodFault & DataObject => ({
  _type: "LocalizedMethodFault",
  fault: { ...fault.fields, _type: fault.fault } as MethodFault,
  localizedMessage: fault.message,
});

/** Any thrown value as a fault; what says nothing of a fault is our own mistake and becomes SystemError. */
export function asFault(error: unknown): LabFault {
  if (error instanceof LabFault) return error;
  if (error instanceof HypervisorError) return hypervisorFault(error);
  const reason = error instanceof Error ? error.message : String(error);
  return new LabFault("SystemError", `A general system error occurred: ${reason}`, { reason });
}
