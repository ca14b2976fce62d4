/**
 * Reads values by the schema. A server reads strictly, as vSphere does: wrong order, unknown element, missing required property,
 * unknown type or empty enumeration value are refused with vSphere's own wording. A client reads leniently: what a newer server
 * adds is skipped, and an object of an unknown type is read as its declared type, keeping its own name in `_type`.
 */
import { DEFAULT_LIMITS, type ReaderLimits, XmlError, XmlReader } from "./reader.ts";
import {
  dataType,
  enumeration,
  type FieldInfo,
  isDataSubtype,
  isScalar,
  type ValueType,
  valueType,
  versionNumber,
} from "./schema.ts";

export interface DecodeOptions {
  strict: boolean;
  /** Strict only: fields newer than this API version are unknown. */
  version?: string;
  limits?: ReaderLimits;
}

/** A message that does not follow the schema. `message` has vSphere's form: what, then where, innermost first. */
export class WireError extends Error {
  override readonly name = "WireError";
  private trail = 0;

  /** Adds where it happened to a failure on its way out; a hostile document does not make the message long. */
  static located(error: unknown, what: string, where: () => string): unknown {
    if (!(error instanceof WireError) && !(error instanceof XmlError)) return error;
    const trail = error instanceof WireError ? error.trail : 0;
    if (trail >= MAX_TRAIL) return error;
    const located = new WireError(`${error.message}\n\nwhile parsing ${what}\nat ${where()}`);
    located.trail = trail + 1;
    return located;
  }
}

const MAX_TRAIL = 16;

const NEWEST = "99.0.0.0";
const INTEGER = /^[+-]?\d{1,19}$/;
const RANGES = { byte: 2 ** 7, short: 2 ** 15, int: 2 ** 31 };
const FLOATS: Record<string, number> = {
  INF: Number.POSITIVE_INFINITY,
  "-INF": Number.NEGATIVE_INFINITY,
  NaN: Number.NaN,
};
const ZONED = /(?:Z|[+-]\d\d:\d\d)$/;

export class Decoder {
  readonly reader: XmlReader;
  private readonly version: number;
  private readonly strict: boolean;

  constructor(text: string, options: DecodeOptions) {
    this.reader = new XmlReader(text, options.limits ?? DEFAULT_LIMITS);
    this.version = versionNumber(options.version ?? NEWEST);
    this.strict = options.strict;
  }

  /** Runs `read`, adding where it happened to a failure. */
  within<T>(what: string, position: number, read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw WireError.located(error, what, () => this.reader.where(position));
    }
  }

  /** Reads the fields of the element just opened: an object's properties or a method's parameters. */
  fields(
    owner: string,
    fields: readonly FieldInfo[],
    positions: ReadonlyMap<string, number>,
    into: Record<string, unknown>,
  ): void {
    const { reader } = this;
    let cursor = 0;
    while (reader.nextChild()) {
      const position = positions.get(reader.name);
      const field = position === undefined ? undefined : fields[position];
      if (
        field === undefined ||
        position === undefined ||
        (this.strict && !this.accepts(field, position, cursor, into))
      ) {
        if (this.strict) throw new WireError(`Unexpected element tag "${reader.name}" seen`);
        reader.skip();
        continue;
      }
      if (this.strict) this.requireBetween(owner, fields, cursor, position, into);
      cursor = position;
      if (!field.array) {
        into[field.name] = this.value(field);
        continue;
      }
      const list = into[field.name];
      const value = this.value(field);
      if (Array.isArray(list)) list.push(value);
      else into[field.name] = [value];
    }
    if (this.strict) this.requireBetween(owner, fields, cursor, fields.length, into);
    // A required list without elements is an empty list.
    for (const field of fields)
      if (field.array && !field.optional && into[field.name] === undefined) into[field.name] = [];
  }

  private accepts(field: FieldInfo, position: number, cursor: number, into: Record<string, unknown>): boolean {
    if (field.since > this.version || position < cursor) return false;
    return field.array || into[field.name] === undefined;
  }

  private requireBetween(
    owner: string,
    fields: readonly FieldInfo[],
    from: number,
    to: number,
    got: Record<string, unknown>,
  ): void {
    for (let i = from; i < to; i++) {
      const field = fields[i];
      if (!field || field.optional || field.array || field.since > this.version || got[field.name] !== undefined)
        continue;
      throw new WireError(`Required property ${field.name} is missing from data object of type ${owner}`);
    }
  }

  /** Reads the element just opened as one value of the declared type (one element, when that is a list). */
  value(declared: ValueType): unknown {
    switch (declared.kind) {
      case "object":
        return this.object(declared.type);
      case "reference":
        return this.reference();
      case "anyType":
        return this.any();
      case "void":
        this.reader.skip();
        return undefined;
      case "enumeration":
        return this.enumeration(declared.type);
      default:
        return this.scalar(declared.kind);
    }
  }

  private reference(): { type: string; value: string; serverGuid?: string } {
    const type = this.reader.attribute("type");
    const serverGuid = this.reader.attribute("serverGuid");
    const value = this.reader.readText();
    if (type === undefined && this.strict) throw new WireError('Managed object reference without attribute "type"');
    const reference = { type: type ?? "ManagedObject", value };
    return serverGuid === undefined ? reference : { ...reference, serverGuid };
  }

  private object(declared: string): Record<string, unknown> {
    const actual = this.reader.typeAttribute() ?? declared;
    const known = dataType(actual) !== undefined && isDataSubtype(actual, declared);
    if (!known && this.strict) throw new WireError(`Type ${actual} is not a known subtype of ${declared}`);
    const info = dataType(known ? actual : declared);
    if (!info) throw new WireError(`Unknown data type ${declared}`);
    const value: Record<string, unknown> = { _type: actual };
    const start = this.reader.tagStart;
    try {
      this.fields(info.name, info.fields, info.positions, value);
    } catch (error) {
      throw WireError.located(error, `serialized DataObject of type ${info.vmodlName}`, () => this.reader.where(start));
    }
    return value;
  }

  private any(): unknown {
    const type = this.reader.typeAttribute();
    if (type === undefined) return this.reader.hasChildElement() ? this.untyped("anyType") : this.reader.readText();
    if (isScalar(type)) return this.scalar(type);
    if (type === "ManagedObjectReference") return this.reference();
    if (type.startsWith("ArrayOf")) return this.arrayOf(type.slice("ArrayOf".length));
    if (dataType(type)) return this.object(type);
    if (enumeration(type)) return this.enumeration(type);
    if (this.strict) throw new WireError(`Unknown type ${type}`);
    return this.reader.hasChildElement() ? this.untyped(type) : this.reader.readText();
  }

  private arrayOf(element: string): unknown[] {
    const lower = element.charAt(0).toLowerCase() + element.slice(1);
    const scalar = element === "Base64Binary" ? "base64Binary" : element === "DateTime" ? "dateTime" : lower;
    const name = isScalar(scalar) || scalar === "anyType" ? scalar : element;
    const declared = valueType(name);
    const unknown = declared.kind === "object" && !dataType(declared.type);
    if (unknown && this.strict) throw new WireError(`Unknown type ArrayOf${element}`);
    const list: unknown[] = [];
    while (this.reader.nextChild()) list.push(unknown ? this.any() : this.value(declared));
    return list;
  }

  /** An object of a type that the schema does not know: its elements by name, lists where a name repeats. */
  private untyped(type: string): Record<string, unknown> {
    const value: Record<string, unknown> = Object.create(null);
    value._type = type;
    while (this.reader.nextChild()) {
      const { name } = this.reader;
      const next = this.any();
      const before = value[name];
      if (before === undefined) value[name] = next;
      else if (Array.isArray(before)) before.push(next);
      else value[name] = [before, next];
    }
    return value;
  }

  private enumeration(type: string): string {
    const text = this.reader.readText().trim();
    if (this.strict && !enumeration(type)?.has(text)) {
      throw new WireError(`Invalid value "${text.slice(0, 80)}" for enumeration ${type}`);
    }
    return text;
  }

  private scalar(kind: ValueType["kind"]): unknown {
    const text = this.reader.readText();
    switch (kind) {
      case "string":
        return text;
      case "anyURI":
        return text.trim();
      case "boolean":
        return boolean(text.trim());
      case "byte":
      case "short":
      case "int":
      case "long":
        return integer(kind, text.trim());
      case "float":
      case "double":
        return float(text.trim());
      case "dateTime":
        return dateTime(text.trim());
      case "base64Binary":
        return new Uint8Array(Buffer.from(text, "base64"));
      default:
        throw new WireError(`Unexpected type ${kind}`);
    }
  }
}

function invalid(text: string, kind: string): WireError {
  return new WireError(`Invalid value "${text.slice(0, 80)}" for type ${kind}`);
}

function boolean(text: string): boolean {
  if (text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  throw invalid(text, "boolean");
}

function integer(kind: "byte" | "short" | "int" | "long", text: string): number | bigint {
  if (!INTEGER.test(text)) throw invalid(text, kind);
  const number = Number(text);
  if (kind === "long") {
    if (Number.isSafeInteger(number)) return number;
    const big = BigInt(text);
    if (BigInt.asIntN(64, big) !== big) throw invalid(text, kind);
    return big;
  }
  if (number < -RANGES[kind] || number >= RANGES[kind]) throw invalid(text, kind);
  return number;
}

function float(text: string): number {
  const value = FLOATS[text] ?? (text === "" ? Number.NaN : Number(text));
  if (Number.isNaN(value) && text !== "NaN") throw invalid(text, "double");
  return value;
}

function dateTime(text: string): Date {
  const value = new Date(ZONED.test(text) ? text : `${text}Z`);
  if (Number.isNaN(value.getTime())) throw invalid(text, "dateTime");
  return value;
}
