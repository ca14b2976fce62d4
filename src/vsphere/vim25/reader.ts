/**
 * A pull reader for the XML that SOAP uses: elements, attributes, text, CDATA, comments. No document types, and of entities only
 * XML's own five and character references. Names are local names: vim25 has one namespace, and servers choose their prefixes.
 */

export interface ReaderLimits {
  /** Nested elements; vSphere itself allows 100. */
  depth: number;
  /** Elements in the document; vSphere itself allows 500,000. */
  elements: number;
  /** Length of the document in UTF-16 units. */
  length: number;
}

export const DEFAULT_LIMITS: ReaderLimits = { depth: 100, elements: 500_000, length: 64 * 1024 * 1024 };

/** A document that is not well-formed or breaks a limit. */
export class XmlError extends Error {
  override readonly name: string = "XmlError";
}

const QUOTE = 34;
const APOSTROPHE = 39;
const SLASH = 47;
const COLON = 58;
const LESS = 60;
const GREATER = 62;
const SPACE = 32;

function isSpace(code: number): boolean {
  return code === SPACE || code === 10 || code === 13 || code === 9;
}

export class XmlReader {
  /** Local name of the element whose start tag was read last. */
  name = "";
  /** Position of that start tag. */
  tagStart = 0;
  private position = 0;
  private attributesStart = 0;
  private attributesEnd = 0;
  private selfClosing = false;
  private depth = 0;
  private elements = 0;

  constructor(
    readonly text: string,
    private readonly limits: ReaderLimits = DEFAULT_LIMITS,
  ) {
    if (text.length > limits.length) throw new XmlError(`The document is longer than ${limits.length} characters`);
    if (text.charCodeAt(0) === 0xfeff) this.position = 1;
  }

  /** Moves into the next child element and gives its name; undefined when the current element has ended (its end tag is read). */
  nextChild(): string | undefined {
    if (this.selfClosing) {
      this.selfClosing = false;
      this.depth--;
      return undefined;
    }
    for (;;) {
      const open = this.text.indexOf("<", this.position);
      if (open < 0) {
        if (this.depth > 0) throw new XmlError("Unexpected end of the document");
        return undefined;
      }
      const next = this.text.charCodeAt(open + 1);
      if (next === SLASH) {
        this.position = this.find(">", open) + 1;
        this.depth--;
        return undefined;
      }
      if (next === 33 || next === 63) {
        this.position = this.afterMarkup(open);
        continue;
      }
      this.readStartTag(open);
      return this.name;
    }
  }

  /** Text of the element whose start tag was just read; reads its end tag. A child element is an error. */
  readText(): string {
    if (this.selfClosing) {
      this.selfClosing = false;
      this.depth--;
      return "";
    }
    let value = "";
    for (;;) {
      const open = this.find("<", this.position);
      if (open > this.position) value += decodeEntities(this.text.substring(this.position, open));
      const next = this.text.charCodeAt(open + 1);
      if (next === SLASH) {
        this.position = this.find(">", open) + 1;
        this.depth--;
        return value;
      }
      if (next === 33 || next === 63) {
        if (this.text.startsWith("<![CDATA[", open)) value += this.text.substring(open + 9, this.find("]]>", open));
        this.position = this.afterMarkup(open);
        continue;
      }
      this.readStartTag(open);
      throw new XmlError(`Unexpected element tag "${this.name}" seen in simple content`);
    }
  }

  /** Skips the rest of the element whose start tag was just read. */
  skip(): void {
    const target = this.depth - 1;
    while (this.depth > target) this.nextChild();
  }

  /** True when the element just opened has a child element; does not move. */
  hasChildElement(): boolean {
    if (this.selfClosing) return false;
    let at = this.position;
    for (;;) {
      at = this.find("<", at);
      const next = this.text.charCodeAt(at + 1);
      if (next === SLASH) return false;
      if (next !== 33 && next !== 63) return true;
      at = this.afterMarkup(at);
    }
  }

  /** Value of an attribute without prefix. */
  attribute(name: string): string | undefined {
    return this.findAttribute(name, false);
  }

  /** Value of an attribute with any prefix, or with none. */
  attributeOfAnyPrefix(name: string): string | undefined {
    return this.findAttribute(name, false) ?? this.findAttribute(name, true);
  }

  /** Local name of `xsi:type`, whatever the prefix. */
  typeAttribute(): string | undefined {
    if (this.attributesEnd === this.attributesStart) return undefined;
    const value = this.findAttribute("type", true);
    return value === undefined ? undefined : value.substring(value.indexOf(":") + 1);
  }

  /** `line 3, column 14`, for messages. */
  where(position = this.tagStart): string {
    let line = 1;
    let lineStart = 0;
    for (let at = this.text.indexOf("\n"); at >= 0 && at < position; at = this.text.indexOf("\n", at + 1)) {
      line++;
      lineStart = at + 1;
    }
    return `line ${line}, column ${position - lineStart}`;
  }

  private find(what: string, from: number): number {
    const at = this.text.indexOf(what, from);
    if (at < 0) throw new XmlError("Unexpected end of the document");
    return at;
  }

  /** Position after a comment, CDATA section or processing instruction. */
  private afterMarkup(open: number): number {
    if (this.text.startsWith("<!--", open)) return this.find("-->", open + 4) + 3;
    if (this.text.startsWith("<![CDATA[", open)) return this.find("]]>", open) + 3;
    if (this.text.startsWith("<?", open)) return this.find("?>", open) + 2;
    throw new XmlError("Document type declarations are not accepted");
  }

  private readStartTag(open: number): void {
    if (++this.elements > this.limits.elements) {
      throw new XmlError(`XML element count exceeds configured maximum ${this.limits.elements}`);
    }
    if (++this.depth > this.limits.depth) {
      throw new XmlError(`XML element depth exceeds configured maximum ${this.limits.depth}`);
    }
    const { text } = this;
    this.tagStart = open;
    let nameStart = open + 1;
    let at = nameStart;
    let code = text.charCodeAt(at);
    while (code !== GREATER && code !== SLASH && !isSpace(code)) {
      if (code === COLON) nameStart = at + 1;
      if (Number.isNaN(code) || code === LESS) throw new XmlError("Broken start tag");
      code = text.charCodeAt(++at);
    }
    if (at === nameStart) throw new XmlError("Element without a name");
    this.name = text.substring(nameStart, at);
    this.attributesStart = at;
    while (code !== GREATER) {
      if (code === QUOTE || code === APOSTROPHE) at = this.find(code === QUOTE ? '"' : "'", at + 1);
      else if (Number.isNaN(code) || code === LESS) throw new XmlError("Broken start tag");
      code = text.charCodeAt(++at);
    }
    this.selfClosing = text.charCodeAt(at - 1) === SLASH;
    this.attributesEnd = this.selfClosing ? at - 1 : at;
    this.position = at + 1;
  }

  private findAttribute(name: string, prefixed: boolean): string | undefined {
    const { text, attributesEnd } = this;
    let at = this.attributesStart;
    while (at < attributesEnd) {
      while (at < attributesEnd && isSpace(text.charCodeAt(at))) at++;
      if (at >= attributesEnd) return undefined;
      const equals = text.indexOf("=", at);
      if (equals < 0 || equals >= attributesEnd) throw new XmlError("Broken attribute");
      const key = text.substring(at, equals).trim();
      let quote = equals + 1;
      while (isSpace(text.charCodeAt(quote))) quote++;
      const mark = text[quote];
      if (mark !== '"' && mark !== "'") throw new XmlError("Attribute value without quotes");
      const close = this.find(mark, quote + 1);
      const colon = key.indexOf(":");
      if ((prefixed ? colon > 0 && !key.startsWith("xmlns:") : colon < 0) && key.substring(colon + 1) === name) {
        return decodeEntities(text.substring(quote + 1, close));
      }
      at = close + 1;
    }
    return undefined;
  }
}

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function decodeEntities(text: string): string {
  if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
  if (!text.includes("&")) return text;
  return text.replace(/&([^;]{0,10});?/g, (whole, name: string) => {
    if (!whole.endsWith(";")) throw new XmlError("Broken entity reference");
    if (!name.startsWith("#")) {
      const value = ENTITIES[name];
      if (value === undefined) throw new XmlError(`Unknown entity "${name}"`);
      return value;
    }
    const code = /^#x[0-9a-f]+$/i.test(name)
      ? Number.parseInt(name.slice(2), 16)
      : /^#\d+$/.test(name)
        ? Number(name.slice(1))
        : -1;
    const allowed = code === 9 || code === 10 || code === 13 || (code >= 32 && code <= 0x10ffff);
    if (!allowed || (code >= 0xd800 && code <= 0xdfff))
      throw new XmlError(`Character reference "${name}" is not allowed`);
    return String.fromCodePoint(code);
  });
}
