/** SOAP 1.1 envelopes of vim25: requests, responses and faults, for the client's and the server's end. */
import { type DecodeOptions, Decoder, WireError } from "./decode.ts";
import { type EncodeOptions, Encoder, EncodingError } from "./encode.ts";
import { type ReaderLimits, XmlError } from "./reader.ts";
import {
  dataType,
  type FieldInfo,
  isDataSubtype,
  type MethodInfo,
  managedType,
  method,
  versionNumber,
} from "./schema.ts";
import type { DataTypes, MethodFault, Methods } from "./types.generated.ts";
import type { ManagedObjectReference } from "./values.ts";

export type MethodName = keyof Methods;
export type Parameters<M extends MethodName> = Methods[M]["parameters"];
export type Result<M extends MethodName> = Methods[M]["result"];

const ENVELOPE =
  '<?xml version="1.0" encoding="UTF-8"?>\n' +
  '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"' +
  ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">';
const THIS: FieldInfo = {
  name: "_this",
  type: "ManagedObject",
  kind: "reference",
  array: false,
  optional: false,
  since: 0,
  privilege: "",
};

/** The `SOAPAction` header's value for an API version. */
export function soapAction(version: string): string {
  return `urn:vim25/${version}`;
}

/** The API version a `SOAPAction` header asks for: `"urn:vim25/7.0.0.0"`, quoted or not. Undefined when it names none. */
export function requestedVersion(header: string | null | undefined): string | undefined {
  return /^"?urn:(?:internal)?vim25\/(\d[\w.]*)"?$/.exec(header?.trim() ?? "")?.[1];
}

/** The version a server of version `server` speaks with a client that asks for `requested`. */
export function negotiatedVersion(requested: string | undefined, server: string): string {
  return requested !== undefined && versionNumber(requested) < versionNumber(server) ? requested : server;
}

// ---- Client end -----------------------------------------------------------------------------------------------------------------

export interface RequestOptions extends EncodeOptions {
  /** Shows up in vSphere's logs beside the call. */
  operationId?: string;
}

export function encodeRequest<M extends MethodName>(
  name: M,
  target: Methods[M]["on"],
  parameters: Parameters<M>,
  options: RequestOptions,
): string {
  const info = method(name);
  if (!info) throw new EncodingError(`Unknown method ${name}`);
  const encoder = new Encoder(options);
  encoder.raw(ENVELOPE);
  if (options.operationId !== undefined) {
    encoder.raw(`<soapenv:Header><operationID>${encoder.text(options.operationId)}</operationID></soapenv:Header>`);
  }
  encoder.raw(`<soapenv:Body><${name} xmlns="${info.namespace}">`);
  encoder.reference("_this", target, "");
  encoder.fields(name, info.parameters, parameters);
  encoder.raw(`</${name}></soapenv:Body></soapenv:Envelope>`);
  return encoder.finish();
}

/** A fault as it came over the wire; `fault` is the type name without `Fault`, `SystemError` when the server named none. */
export interface ReceivedFault {
  fault: string;
  message: string;
  detail: Record<string, unknown>;
}

export type Response<M extends MethodName> = { ok: true; result: Result<M> } | { ok: false; fault: ReceivedFault };

/** Reads a response, leniently. Throws WireError or XmlError when it is none. */
export function decodeResponse<M extends MethodName>(name: M, text: string, limits?: ReaderLimits): Response<M> {
  const info = method(name);
  if (!info) throw new WireError(`Unknown method ${name}`);
  const decoder = new Decoder(text, limits ? { strict: false, limits } : { strict: false });
  const { reader } = decoder;
  openBody(decoder);
  if (!reader.nextChild()) throw new WireError("The SOAP body is empty");
  if (reader.name === "Fault") return { ok: false, fault: readFault(decoder) };
  if (reader.name !== `${name}Response`) throw new WireError(`Expected ${name}Response, got ${reader.name}`);
  const values: unknown[] = [];
  while (reader.nextChild()) {
    if (reader.name === "returnval") values.push(decoder.value(info.result));
    else reader.skip();
  }
  // The schema says that these values have this type: the one place where the compiler has to believe it.
  const result = (info.result.array ? values : values[0]) as Result<M>;
  if (result === undefined && !info.resultOptional && info.result.kind !== "void") {
    throw new WireError(`${name} returned nothing`);
  }
  return { ok: true, result };
}

function openBody(decoder: Decoder, onHeader?: (name: string, decoder: Decoder) => void): void {
  const { reader } = decoder;
  if (reader.nextChild() !== "Envelope") throw new WireError("This is no SOAP envelope");
  for (let part = reader.nextChild(); part !== undefined; part = reader.nextChild()) {
    if (part === "Body") return;
    if (part !== "Header" || !onHeader) {
      reader.skip();
      continue;
    }
    for (let header = reader.nextChild(); header !== undefined; header = reader.nextChild()) onHeader(header, decoder);
  }
  throw new WireError("The SOAP envelope has no body");
}

function readFault(decoder: Decoder): ReceivedFault {
  const { reader } = decoder;
  const fault: ReceivedFault = { fault: "SystemError", message: "", detail: {} };
  while (reader.nextChild()) {
    if (reader.name === "faultstring") {
      fault.message = reader.readText();
    } else if (reader.name === "detail") {
      while (reader.nextChild()) {
        const element = reader.name.replace(/Fault$/, "");
        fault.fault = reader.typeAttribute() ?? element;
        fault.detail = decoder.value({ kind: "object", type: "MethodFault", array: false }) as Record<string, unknown>;
      }
    } else {
      reader.skip();
    }
  }
  return fault;
}

// ---- Server end -----------------------------------------------------------------------------------------------------------------

/** Distributes over the methods, so that a `switch` on `method` narrows `parameters`. */
export type Request = {
  [M in MethodName]: {
    method: M;
    info: MethodInfo;
    this: ManagedObjectReference;
    parameters: Parameters<M>;
    /** API version to answer with. */
    version: string;
    operationId: string | undefined;
  };
}[MethodName];

export interface DecodeRequestOptions {
  /** Value of the `SOAPAction` header. */
  soapAction?: string | null;
  /** Newest API version that the server speaks. */
  serverVersion: string;
  limits?: ReaderLimits;
}

/**
 * Reads a request, strictly. Throws WireError with vSphere's own wording: answer it with
 * `encodeFault({ _type: "InvalidRequest" }, error.message, …)`, fault code `ClientFaultCode`.
 */
export function decodeRequest(text: string, options: DecodeRequestOptions): Request {
  const version = negotiatedVersion(requestedVersion(options.soapAction), options.serverVersion);
  const decodeOptions: DecodeOptions = { strict: true, version };
  if (options.limits) decodeOptions.limits = options.limits;
  let operationId: string | undefined;
  try {
    const decoder = new Decoder(text, decodeOptions);
    return decoder.within("SOAP envelope", 0, () => {
      openBody(decoder, (name, { reader }) => {
        if (name === "operationID" && !reader.hasChildElement()) operationId = reader.readText();
        else reader.skip();
      });
      const body = decoder.reader.tagStart;
      const { info, target, parameters } = decoder.within("SOAP body", body, () => readCall(decoder));
      return { method: info.name, info, this: target, parameters, version, operationId } as Request;
    });
  } catch (error) {
    if (error instanceof XmlError) throw new WireError(error.message);
    throw error;
  }
}

function readCall(decoder: Decoder): {
  info: MethodInfo;
  target: ManagedObjectReference;
  parameters: Record<string, unknown>;
} {
  const { reader } = decoder;
  if (!reader.nextChild()) throw new WireError("The SOAP body is empty");
  const info = method(reader.name);
  if (!info) throw new WireError(`Unable to resolve WSDL method name ${reader.name}`);
  const fields = [THIS, ...info.parameters];
  const positions = new Map(fields.map((field, index) => [field.name, index]));
  const parameters: Record<string, unknown> = {};
  decoder.within(`call information for method ${info.name}`, reader.tagStart, () =>
    decoder.fields(info.name, fields, positions, parameters),
  );
  const target = parameters._this as ManagedObjectReference;
  delete parameters._this;
  return { info, target, parameters };
}

/** The body of HTTP 200 for a method's result; a `void` method's is `undefined`. */
export function encodeResponse<M extends MethodName>(name: M, result: Result<M>, options: EncodeOptions): string {
  const info = method(name);
  if (!info) throw new EncodingError(`Unknown method ${name}`);
  const encoder = new Encoder(options);
  encoder.raw(`${ENVELOPE}<soapenv:Body><${name}Response xmlns="${info.namespace}">`);
  if (result !== undefined) encoder.value("returnval", info.result, result);
  else if (!info.resultOptional && info.result.kind !== "void") throw new EncodingError(`${name} needs a result`);
  encoder.raw(`</${name}Response></soapenv:Body></soapenv:Envelope>`);
  return encoder.finish();
}

export interface FaultOptions extends EncodeOptions {
  faultCode?: "ServerFaultCode" | "ClientFaultCode";
}

/** The body of HTTP 500. `message` is what command line clients print. */
export function encodeFault(fault: MethodFault, message: string, options: FaultOptions): string {
  const info = dataType(fault._type);
  if (!info || !isDataSubtype(fault._type, "MethodFault")) throw new EncodingError(`${fault._type} is no fault`);
  const encoder = new Encoder(options);
  encoder.raw(
    `${ENVELOPE}<soapenv:Body><soapenv:Fault><faultcode>${options.faultCode ?? "ServerFaultCode"}</faultcode>`,
  );
  encoder.raw(`<faultstring>${encoder.text(message)}</faultstring><detail>`);
  encoder.typedElement(`${info.name}Fault`, ' xmlns="urn:vim25"', info, { ...fault });
  encoder.raw("</detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>");
  return encoder.finish();
}

/** Does the object of this managed type answer the method? */
export function answers(managed: string, info: MethodInfo): boolean {
  for (let type = managedType(managed); type; type = type.base ? managedType(type.base) : undefined) {
    if (type.name === info.on) return true;
  }
  return info.on === "ManagedObject";
}

/** Names a data type in the schema, checked by the compiler. */
export type DataTypeName = keyof DataTypes;
