/**
 * A vim25 fault on its way to a client: thrown by a method it becomes the SOAP fault of the call, thrown inside a task it
 * becomes `TaskInfo.error`.
 */
export class LabFault extends Error {
  override readonly name = "LabFault";

  /**
   * @param fault Type name in the vim25 schema, for example `InvalidPowerState`.
   * @param message What clients print: one line, what and why.
   * @param fields The fault type's own fields.
   */
  constructor(
    readonly fault: string,
    message: string,
    readonly fields: Record<string, unknown> = {},
  ) {
    super(message);
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

/** Any thrown value as a fault; what is not a LabFault is our own mistake and becomes SystemError. */
export function asFault(error: unknown): LabFault {
  if (error instanceof LabFault) return error;
  if (error instanceof Error && "fault" in error && typeof error.fault === "string") {
    const fields = error.fault === "GenericVmConfigFault" ? { reason: error.message } : {};
    return new LabFault(error.fault, error.message, fields);
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new LabFault("SystemError", `A general system error occurred: ${reason}`, { reason });
}
