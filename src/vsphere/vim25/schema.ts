/**
 * The vim25 schema at run time. The generated tables are compact text; a type is parsed when it is first used, so a process pays
 * only for the types it meets.
 */
import { dataTypes, enumerations, managedTypes, methods as methodRows } from "./schema.generated.ts";

export type ScalarName =
  | "string"
  | "anyURI"
  | "boolean"
  | "byte"
  | "short"
  | "int"
  | "long"
  | "float"
  | "double"
  | "dateTime"
  | "base64Binary";

/** How a value of a declared type is written and read. */
export type ValueKind = ScalarName | "enumeration" | "reference" | "anyType" | "object" | "void";

/** A declared type in a field, parameter or result position. */
export interface ValueType {
  /** Element type without `[]` and `→`: `string`, `VirtualDevice`, `Folder` (with kind `reference`). */
  type: string;
  kind: ValueKind;
  array: boolean;
}

export interface FieldInfo extends ValueType {
  name: string;
  optional: boolean;
  /** API version that brought the field, as `versionNumber`; 0 when every version we speak has it. */
  since: number;
  /** Privilege to read the property, or needed on the object given as the parameter. */
  privilege: string;
}

export interface DataTypeInfo {
  name: string;
  vmodlName: string;
  base: string | undefined;
  /** Wire order: the root ancestor's fields first. */
  fields: readonly FieldInfo[];
  positions: ReadonlyMap<string, number>;
  /** Has a base or subtypes: `xsi:type` is always written. */
  polymorphic: boolean;
}

export interface ManagedTypeInfo {
  name: string;
  vmodlName: string;
  base: string | undefined;
  /** Own and inherited. Empty for managed types that the schema knows by name only. */
  properties: ReadonlyMap<string, FieldInfo>;
}

export interface MethodInfo {
  name: string;
  /** `createVm` for `CreateVM_Task`; together with `Folder` it makes a task's `descriptionId`. */
  vmodlName: string;
  /** Managed type that declares it. */
  on: string;
  parameters: readonly FieldInfo[];
  result: ValueType;
  resultOptional: boolean;
  /** What a `_Task` method's task yields. */
  taskResult: ValueType | undefined;
  privilege: string;
  faults: readonly string[];
  namespace: string;
}

const SCALARS: ReadonlySet<string> = new Set<ScalarName>([
  "string",
  "anyURI",
  "boolean",
  "byte",
  "short",
  "int",
  "long",
  "float",
  "double",
  "dateTime",
  "base64Binary",
]);

/** `8.0.2.0` as a number that compares: two decimal digits per part. */
export function versionNumber(version: string): number {
  let number = 0;
  const parts = version.split(".");
  for (let i = 0; i < 4; i++) number = number * 100 + (Number.parseInt(parts[i] ?? "0", 10) || 0);
  return number;
}

export function isScalar(type: string): type is ScalarName {
  return SCALARS.has(type);
}

/** Parses `VirtualDevice[]`, `→Folder`, `long`. */
export function valueType(text: string): ValueType {
  const array = text.endsWith("[]");
  const element = array ? text.slice(0, -2) : text;
  if (element.startsWith("→")) return { type: element.slice(1), kind: "reference", array };
  if (element === "ManagedObjectReference") return { type: "ManagedObject", kind: "reference", array };
  if (isScalar(element)) return { type: element, kind: element, array };
  if (element === "anyType" || element === "void") return { type: element, kind: element, array };
  return { type: element, kind: element in enumerations ? "enumeration" : "object", array };
}

const FIELD = /^([^?:]+)(\??):([^@#]+)(?:@([^#]+))?(?:#(.*))?$/;

function parseField(text: string): FieldInfo {
  const match = FIELD.exec(text);
  if (!match) throw new Error(`Broken schema entry: ${text}`);
  const [, name = "", optional, type = "", since, privilege = ""] = match;
  return { name, optional: optional === "?", since: since ? versionNumber(since) : 0, privilege, ...valueType(type) };
}

function parseFields(parts: readonly string[]): FieldInfo[] {
  return parts.filter((part) => part !== "").map(parseField);
}

function own(table: Record<string, string>, name: string): string | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

const parsedTypes = new Map<string, DataTypeInfo>();
let typesWithSubtypes: Set<string> | undefined;

export function dataType(name: string): DataTypeInfo | undefined {
  const known = parsedTypes.get(name);
  if (known) return known;
  const text = own(dataTypes, name);
  if (text === undefined) return undefined;
  typesWithSubtypes ??= new Set(Object.values(dataTypes).map((entry) => entry.split(" ", 2)[1] ?? "-"));
  const [vmodlName = name, baseName = "-", ...rest] = text.split(" ");
  const base = baseName === "-" ? undefined : baseName;
  const fields = [...((base && dataType(base)?.fields) || []), ...parseFields(rest)];
  const info: DataTypeInfo = {
    name,
    vmodlName,
    base,
    fields,
    positions: new Map(fields.map((field, index) => [field.name, index])),
    polymorphic: base !== undefined || typesWithSubtypes.has(name),
  };
  parsedTypes.set(name, info);
  return info;
}

/** Is the data type `name` the same as or derived from `ancestor`? */
export function isDataSubtype(name: string, ancestor: string): boolean {
  for (let info = dataType(name); info; info = info.base ? dataType(info.base) : undefined) {
    if (info.name === ancestor) return true;
  }
  return false;
}

const parsedEnumerations = new Map<string, ReadonlySet<string>>();

export function enumeration(name: string): ReadonlySet<string> | undefined {
  let values = parsedEnumerations.get(name);
  if (!values) {
    const text = own(enumerations, name);
    if (text === undefined) return undefined;
    values = new Set(text.split(" "));
    parsedEnumerations.set(name, values);
  }
  return values;
}

const parsedManaged = new Map<string, ManagedTypeInfo>();

export function managedType(name: string): ManagedTypeInfo | undefined {
  const known = parsedManaged.get(name);
  if (known) return known;
  const text = own(managedTypes, name);
  if (text === undefined) return undefined;
  const [vmodlName = name, baseName = "-", ...rest] = text.split(" ");
  const base = baseName === "-" ? undefined : baseName;
  const properties = new Map((base && managedType(base)?.properties) || []);
  for (const property of parseFields(rest)) properties.set(property.name, property);
  const info: ManagedTypeInfo = { name, vmodlName, base, properties };
  parsedManaged.set(name, info);
  return info;
}

/** Is the managed type `name` the same as or derived from `ancestor`? `ManagedObject` is everybody's ancestor. */
export function isManagedSubtype(name: string, ancestor: string): boolean {
  if (ancestor === "ManagedObject") return true;
  for (let info = managedType(name); info; info = info.base ? managedType(info.base) : undefined) {
    if (info.name === ancestor) return true;
  }
  return false;
}

const parsedMethods = new Map<string, MethodInfo>();

export function method(name: string): MethodInfo | undefined {
  const known = parsedMethods.get(name);
  if (known) return known;
  if (!Object.hasOwn(methodRows, name)) return undefined;
  const [
    vmodlName = "",
    on = "",
    parameters = "",
    result = "",
    taskResult = "",
    privilege = "",
    faults = "",
    space = "",
  ] = methodRows[name] ?? [];
  const resultOptional = result.endsWith("?");
  const info: MethodInfo = {
    name,
    vmodlName,
    on,
    parameters: parseFields(parameters.split(" ")),
    result: valueType(resultOptional ? result.slice(0, -1) : result),
    resultOptional,
    taskResult: taskResult === "" ? undefined : valueType(taskResult),
    privilege,
    faults: faults === "" ? [] : faults.split(" "),
    namespace: `urn:${space}`,
  };
  parsedMethods.set(name, info);
  return info;
}

export function methodNames(): string[] {
  return Object.keys(methodRows);
}

/** Methods that an object of the managed type answers, inherited ones included. */
export function methodsOf(managed: string): MethodInfo[] {
  return methodNames()
    .map(method)
    .filter((info) => info !== undefined)
    .filter((info) => isManagedSubtype(managed, info.on));
}

const PATH_STEP = /([^.[\]]+)(\["[^"]*"\]|\[[^\]]*\])?/g;

/**
 * The declared type of a property path: `config.hardware.device`, `config.extraConfig["key"]`, `config.hardware.device[2000].key`.
 * Undefined when the schema does not know it. Through a base type, fields of its subtypes are found as well.
 */
export function propertyType(managed: string, path: string): ValueType | undefined {
  let current: ValueType | undefined;
  for (const [, name = "", index] of path.matchAll(PATH_STEP)) {
    const field: FieldInfo | undefined = current
      ? fieldOf(current.type, name)
      : managedType(managed)?.properties.get(name);
    if (!field) return undefined;
    current = index === undefined ? field : { type: field.type, kind: field.kind, array: false };
  }
  return current && { type: current.type, kind: current.kind, array: current.array };
}

function fieldOf(type: string, name: string): FieldInfo | undefined {
  const info = dataType(type);
  const position = info?.positions.get(name);
  if (info && position !== undefined) return info.fields[position];
  for (const [candidate, text] of Object.entries(dataTypes)) {
    if (text.split(" ", 2)[1] !== type) continue;
    const found = fieldOf(candidate, name);
    if (found) return found;
  }
  return undefined;
}
