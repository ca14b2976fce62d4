import { FormatError } from "../format-error";

/** A paragraph of a control file: its fields by their name in lower case. */
export type ControlFields = ReadonlyMap<string, string>;

/** Characters of one paragraph; the longest of Debian's lists take some ten thousand. */
const MAX_PARAGRAPH = 4 * 1024 ** 2;
const MAX_PARAGRAPHS = 1_000_000;

/** The fields of one paragraph ("deb822"): further lines of a field begin with a space, which is left out. */
export function parseControlParagraph(text: string): ControlFields {
  const fields = new Map<string, string>();
  let key = "";
  for (const line of text.split("\n")) {
    const match = /^([^\s:#][^\s:]*):\s*(.*)$/.exec(line);
    if (match !== null) {
      key = (match[1] ?? "").toLowerCase();
      fields.set(key, (match[2] ?? "").trimEnd());
    } else if (/^[ \t]/.test(line) && key !== "") {
      fields.set(key, `${fields.get(key)}\n${line.slice(1)}`);
    }
  }
  return fields;
}

/** The texts of the paragraphs of a list such as `Packages`. @throws FormatError when one is too long, or there are too many */
export async function* controlParagraphs(source: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder("utf-8");
  let rest = "";
  let count = 0;
  function* complete(text: string): Generator<string> {
    const paragraphs = (rest + text).split("\n\n");
    rest = paragraphs.pop() ?? "";
    if (rest.length > MAX_PARAGRAPH) throw new FormatError("deb", "a paragraph of the list is too long");
    for (const paragraph of paragraphs) {
      if (++count > MAX_PARAGRAPHS) throw new FormatError("deb", "the list has too many paragraphs");
      if (paragraph.trim() !== "") yield paragraph;
    }
  }
  for await (const chunk of source) yield* complete(decoder.decode(chunk, { stream: true }));
  yield* complete(decoder.decode());
  if (rest.trim() !== "") yield rest;
}
