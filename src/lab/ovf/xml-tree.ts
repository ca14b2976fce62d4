/** OVF descriptors as a tree of elements; names without prefixes. */
import { DEFAULT_LIMITS, XmlError } from "../../vsphere/vim25/index.ts";
import { XmlReader } from "../../vsphere/vim25/reader.ts";
import { LabFault } from "../fault.ts";

/** Length of a descriptor. */
const LENGTH_LIMIT = 4 * 1024 * 1024;
const ELEMENT_LIMIT = 20_000;
/** Attributes that OVF descriptors carry and the lab looks at. */
const ATTRIBUTES = [
  "id",
  "href",
  "size",
  "diskId",
  "fileRef",
  "capacity",
  "capacityAllocationUnits",
  "name",
  "key",
  "value",
  "osType",
];

export interface Element {
  name: string;
  attributes: ReadonlyMap<string, string>;
  children: readonly Element[];
  text: string;
}

/** Throws OvfInvalidPackage when it is not well-formed XML. */
export function parseXml(text: string): Element {
  const reader = new XmlReader(text, { ...DEFAULT_LIMITS, length: LENGTH_LIMIT, elements: ELEMENT_LIMIT });
  try {
    const name = reader.nextChild();
    if (name === undefined) throw new XmlError("there is no element");
    return readElement(reader, name);
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    throw new LabFault("OvfInvalidPackage", `The OVF descriptor is not valid: ${error.message}`, { lineNumber: 0 });
  }
}

function readElement(reader: XmlReader, name: string): Element {
  const attributes = new Map<string, string>();
  for (const attribute of ATTRIBUTES) {
    const value = reader.attributeOfAnyPrefix(attribute);
    if (value !== undefined) attributes.set(attribute, value);
  }
  if (!reader.hasChildElement()) return { name, attributes, children: [], text: reader.readText() };
  const children: Element[] = [];
  for (let child = reader.nextChild(); child !== undefined; child = reader.nextChild()) {
    children.push(readElement(reader, child));
  }
  return { name, attributes, children, text: "" };
}

export const childrenNamed = (element: Element | undefined, name: string): Element[] =>
  element?.children.filter((child) => child.name === name) ?? [];
export const childNamed = (element: Element | undefined, name: string): Element | undefined =>
  childrenNamed(element, name)[0];
export const textOf = (element: Element | undefined, name: string): string | undefined =>
  childNamed(element, name)?.text.trim();
