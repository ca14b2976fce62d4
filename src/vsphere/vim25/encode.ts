/** Writes values in schema order: the order of the *actual* type, inherited fields first, fields of newer versions left out. */
import {
  type DataTypeInfo,
  dataType,
  type FieldInfo,
  isDataSubtype,
  isScalar,
  type ValueType,
  valueType,
  versionNumber,
} from "./schema.ts";
import { isReference, TypedValue } from "./values.ts";

export interface EncodeOptions {
  /** Negotiated API version, `7.0.0.0`; fields newer than it are dropped. */
  version: string;
  /** Characters that XML cannot carry: refuse (a client must not lose data) or write U+FFFD (a server answering with guests' data). */
  invalidCharacters?: "refuse" | "replace";
}

/** A value that the schema does not allow: a programming error on our side. */
export class EncodingError extends Error {
  override readonly name = "EncodingError";
}

const SPECIAL = /[&<>"\r]/;
const SPECIALS = /[&<>"\r]/g;
const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#xD;" };
const INVALID = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Surrogate}/u;
const INVALIDS = new RegExp(INVALID.source, "gu");
const INT_MAX = 2 ** 31;

export class Encoder {
  private out = "";
  private readonly version: number;

  constructor(private readonly options: EncodeOptions) {
    this.version = versionNumber(options.version);
  }

  raw(xml: string): void {
    this.out += xml;
  }

  finish(): string {
    return this.out;
  }

  text(value: string): string {
    if (INVALID.test(value)) {
      if (this.options.invalidCharacters !== "replace") {
        throw new EncodingError(`${JSON.stringify(value.slice(0, 40))} contains a character that XML cannot carry`);
      }
      value = value.replace(INVALIDS, "\ufffd");
    }
    return SPECIAL.test(value) ? value.replace(SPECIALS, (c) => ESCAPES[c] ?? c) : value;
  }

  /** Writes the fields of an object or the parameters of a method. */
  fields(owner: string, fields: readonly FieldInfo[], values: Record<string, unknown>): void {
    let written = 0;
    for (const field of fields) {
      const value = values[field.name];
      if (value === undefined || value === null) {
        if (!field.optional && !field.array && field.since <= this.version) {
          throw new EncodingError(`Required property ${field.name} is missing from data object of type ${owner}`);
        }
        continue;
      }
      written++;
      if (field.since <= this.version) this.value(field.name, field, value);
    }
    this.refuseUnknown(owner, fields, values, written);
  }

  private refuseUnknown(
    owner: string,
    fields: readonly FieldInfo[],
    values: Record<string, unknown>,
    written: number,
  ): void {
    let present = 0;
    for (const key in values) if (key !== "_type" && values[key] !== undefined && values[key] !== null) present++;
    if (present === written) return;
    const unknown = Object.keys(values).filter((key) => key !== "_type" && !fields.some((field) => field.name === key));
    throw new EncodingError(`${owner} has no property ${unknown.join(", ")}`);
  }

  /** Writes a value of a declared type as element `name`; a list as repeated elements. */
  value(name: string, declared: ValueType, value: unknown): void {
    if (!declared.array) {
      this.single(name, declared, value);
      return;
    }
    if (!Array.isArray(value)) throw new EncodingError(`${name} must be a list`);
    for (const element of value) this.single(name, declared, element);
  }

  /** @param typed in an `anyType` position: `xsi:type` is written whatever the type is */
  private single(name: string, { kind, type }: ValueType, value: unknown, typed = false): void {
    switch (kind) {
      case "object":
        this.object(name, type, value, typed);
        return;
      case "reference":
        this.reference(name, value, typed ? ' xsi:type="ManagedObjectReference"' : "");
        return;
      case "anyType":
        this.any(name, value);
        return;
      case "void":
        throw new EncodingError(`${name} has no value`);
      default: {
        const attribute = typed ? ` xsi:type="${kind === "enumeration" ? type : `xsd:${kind}`}"` : "";
        this.out += `<${name}${attribute}>${this.scalar(name, kind, value)}</${name}>`;
      }
    }
  }

  private object(name: string, declared: string, value: unknown, alwaysTyped: boolean): void {
    if (typeof value !== "object" || value === null) throw new EncodingError(`${name} must be a ${declared}`);
    const actual = "_type" in value && typeof value._type === "string" ? value._type : declared;
    const info = dataType(actual);
    if (!info) throw new EncodingError(`Unknown data type ${actual} in ${name}`);
    if (actual !== declared && !isDataSubtype(actual, declared)) {
      throw new EncodingError(`${name} must be a ${declared}, not a ${actual}`);
    }
    const typed = alwaysTyped || info.polymorphic || actual !== declared;
    this.out += typed ? `<${name} xsi:type="${actual}">` : `<${name}>`;
    this.fields(info.name, info.fields, value as Record<string, unknown>);
    this.out += `</${name}>`;
  }

  /** The content of a typed object as element `name` with extra attributes: the detail of a fault. */
  typedElement(name: string, attributes: string, info: DataTypeInfo, value: Record<string, unknown>): void {
    this.out += `<${name}${attributes} xsi:type="${info.name}">`;
    this.fields(info.name, info.fields, value);
    this.out += `</${name}>`;
  }

  reference(name: string, value: unknown, attributes: string): void {
    if (!isReference(value)) throw new EncodingError(`${name} must be a managed object reference`);
    const guid = value.serverGuid === undefined ? "" : ` serverGuid="${this.text(value.serverGuid)}"`;
    this.out += `<${name} type="${this.text(value.type)}"${guid}${attributes}>${this.text(value.value)}</${name}>`;
  }

  private any(name: string, value: unknown): void {
    if (value instanceof TypedValue) {
      this.typed(name, valueType(value.type), value.value);
    } else if (Array.isArray(value)) {
      this.arrayOf(name, elementType(value), value);
    } else if (isReference(value)) {
      this.reference(name, value, ' xsi:type="ManagedObjectReference"');
    } else {
      const type = naturalType(value);
      if (type === undefined) throw new EncodingError(`${name}: this value needs a type, use typed()`);
      this.typed(name, valueType(type), value);
    }
  }

  private typed(name: string, type: ValueType, value: unknown): void {
    if (!type.array) {
      this.single(name, type, value, true);
      return;
    }
    if (!Array.isArray(value)) throw new EncodingError(`${name} must be a list`);
    this.arrayOf(name, type, value);
  }

  private arrayOf(name: string, element: ValueType, values: readonly unknown[]): void {
    const child = element.kind === "reference" ? "ManagedObjectReference" : element.type;
    const single: ValueType = { ...element, array: false };
    this.out += `<${name} xsi:type="ArrayOf${child.charAt(0).toUpperCase()}${child.slice(1)}">`;
    for (const value of values) this.single(child, single, value);
    this.out += `</${name}>`;
  }

  private scalar(name: string, kind: ValueType["kind"], value: unknown): string {
    switch (kind) {
      case "boolean":
        if (typeof value === "boolean") return value ? "true" : "false";
        break;
      case "byte":
      case "short":
      case "int":
      case "long":
        if (typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value)))
          return String(value);
        break;
      case "float":
      case "double":
        if (typeof value === "number") {
          return Number.isFinite(value) ? String(value) : Number.isNaN(value) ? "NaN" : value > 0 ? "INF" : "-INF";
        }
        break;
      case "dateTime":
        if (value instanceof Date) return value.toISOString();
        break;
      case "base64Binary":
        if (value instanceof Uint8Array)
          return Buffer.from(value.buffer, value.byteOffset, value.length).toString("base64");
        break;
      case "enumeration":
        if (typeof value === "string" && value !== "") return this.text(value);
        break;
      default:
        if (typeof value === "string") return this.text(value);
    }
    throw new EncodingError(`${name} must be a value of type ${kind}, not ${typeof value}`);
  }
}

/** The type that an untyped value is written with in an `anyType` position. */
function naturalType(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return "string";
    case "boolean":
      return "boolean";
    case "bigint":
      return "long";
    case "number":
      if (!Number.isSafeInteger(value)) return "double";
      return value >= -INT_MAX && value < INT_MAX ? "int" : "long";
    default:
      if (value instanceof Date) return "dateTime";
      if (value instanceof Uint8Array) return "base64Binary";
      if (typeof value === "object" && value !== null && "_type" in value && typeof value._type === "string")
        return value._type;
      return undefined;
  }
}

/** The common element type of a list in an `anyType` position: the nearest type that all elements derive from. */
function elementType(values: readonly unknown[]): ValueType {
  if (values.length === 0) throw new EncodingError("An empty list in an anyType position needs a type, use typed()");
  if (values.every(isReference)) return valueType("ManagedObjectReference[]");
  const types = values.map(naturalType);
  const first = types[0];
  if (first !== undefined && types.every((type) => type === first)) return valueType(`${first}[]`);
  if (first !== undefined && !isScalar(first)) {
    for (let info = dataType(first); info; info = info.base ? dataType(info.base) : undefined) {
      const candidate = info.name;
      if (types.every((type) => type !== undefined && isDataSubtype(type, candidate)))
        return valueType(`${candidate}[]`);
    }
  }
  return valueType("anyType[]");
}
