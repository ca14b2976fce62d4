/**
 * vim25 on the wire: schema, codec and SOAP envelopes, for a client and for a server. No I/O.
 *
 * Values: data objects are plain objects with `_type` (required in literals of polymorphic types such as devices, backings and
 * faults; always there on decoded ones), references `{ type, value }`, `long` a number (bigint beyond 2^53), `dateTime` a Date,
 * `base64Binary` a Uint8Array, lists arrays, unset optional fields absent.
 *
 * Client: `encodeRequest("ReconfigVM_Task", vm, { spec }, { version })`, POST it with `SOAPAction: soapAction(version)`,
 * `decodeResponse("ReconfigVM_Task", text)` → `{ ok: true, result }` or `{ ok: false, fault }`.
 *
 * Server:
 *   const request = decodeRequest(body, { soapAction: header, serverVersion: "8.0.2.0" });   // strict; throws WireError
 *   switch (request.method) { case "CreateVM_Task": request.this; request.parameters.config; … }
 *   encodeResponse(request.method, result, { version: request.version, invalidCharacters: "replace" })           // HTTP 200
 *   encodeFault({ _type: "InvalidPowerState", existingState: "poweredOn" }, "The attempted operation …", { version })  // HTTP 500
 *   A WireError: encodeFault({ _type: "InvalidRequest" }, error.message, { version, faultCode: "ClientFaultCode" }).
 *   `methodsOf("Folder")` lists what an object answers, `answers(type, info)` tests one method, `method(name)` gives its privilege
 *   and declared faults. `Fetch` is among the methods (on every object).
 *
 * anyType positions (DynamicProperty.val, PropertyChange.val, TaskInfo.result, OptionValue.value, Fetch): give strings, booleans,
 * dates, references and `_type`d objects as they are; give numbers, enumeration values and lists with `typed("long", 5)`,
 * `typed("VirtualMachinePowerState", "poweredOn")`, `typed("VirtualDevice[]", devices)`, `typed("→Datastore[]", references)`.
 * For a property the declared type is known: `typedProperty("VirtualMachine", "config.hardware.device", devices)`.
 */
export { type DecodeOptions, WireError } from "./decode.ts";
export { type EncodeOptions, EncodingError } from "./encode.ts";
export { DEFAULT_LIMITS, type ReaderLimits, XmlError } from "./reader.ts";
export {
  type DataTypeInfo,
  dataType,
  enumeration,
  type FieldInfo,
  isDataSubtype,
  isManagedSubtype,
  type ManagedTypeInfo,
  type MethodInfo,
  managedType,
  method,
  methodNames,
  methodsOf,
  propertyType,
  type ValueType,
  versionNumber,
} from "./schema.ts";
export * from "./soap.ts";
export { typedProperty } from "./typed-property.ts";
export type * from "./types.generated.ts";
export {
  type AnyValue,
  isReference,
  type Long,
  type ManagedObjectReference,
  type TypedObject,
  TypedValue,
  toNumber,
  typed,
} from "./values.ts";
