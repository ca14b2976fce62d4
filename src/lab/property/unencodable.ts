import { EncodingError, encodeResponse } from "../../vsphere/vim25/index.ts";
import { LabFault, localizedFault } from "../fault.ts";
import { type DataObject, data, isDataObject } from "../model/data.ts";

/** Which list holds an object's properties in the replies of the property collector. */
const PROPERTY_LISTS: Readonly<Record<string, string>> = { ObjectUpdate: "changeSet", ObjectContent: "propSet" };

/**
 * A property collector's reply without the property values that cannot be encoded; those are named in `missingSet` with a
 * SystemError. Such a value is a mistake of the lab. It must not cost its readers everything else that they watch.
 */
export function withoutUnencodable(reply: unknown): unknown {
  if (Array.isArray(reply)) return reply.map(withoutUnencodable);
  if (!isDataObject(reply)) return reply;
  const list = PROPERTY_LISTS[reply._type];
  if (list === undefined) {
    return data(
      reply._type,
      Object.fromEntries(Object.entries(reply).map(([name, value]) => [name, withoutUnencodable(value)])),
    );
  }
  const missingSet = [...((reply.missingSet as DataObject[] | undefined) ?? [])];
  const kept = ((reply[list] as DataObject[] | undefined) ?? []).filter(({ name, val }) => {
    const reason = encodingProblem(val);
    if (reason === undefined) return true;
    const fault = new LabFault("SystemError", `A general system error occurred: ${reason}`, { reason });
    missingSet.push(data("MissingProperty", { path: name, fault: localizedFault(fault) }));
    return false;
  });
  return data(reply._type, { ...reply, [list]: kept, missingSet });
}

function encodingProblem(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  try {
    encodeResponse("Fetch", value as never, { version: "8.0.2.0", invalidCharacters: "replace" });
    return undefined;
  } catch (error) {
    if (error instanceof EncodingError) return error.message;
    throw error;
  }
}
