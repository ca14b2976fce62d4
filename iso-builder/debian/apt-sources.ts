import { parseControlParagraph } from "../../src/format/deb/control";

/** A place that packages come from, as apt's `sources.list` names it. */
export interface AptSource {
  /** `https://…`, `http://…` or `file:…`. */
  uri: string;
  /** Name of a distribution, or a path that ends in `/`. */
  suite: string;
  /** Empty where the suite is a path. */
  components: string[];
  /** Key files, fingerprints of keys, or a key itself; apt's own keys where it is missing. */
  signedBy?: string[];
  /** Architectures that it is used for; all where it is missing. */
  architectures?: string[];
}

/** Sources of binary packages in a file of one-line entries. Facts: sources.list(5). */
export function parseOneLineSources(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line);
    if (match === null) return [];
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const option = (name: string): string[] | undefined => {
      const value = new RegExp(`(?:^|\\s)${name}\\+?=(\\S+)`).exec(options)?.[1];
      return value?.split(",");
    };
    return [sourceOf(uri, suite, words(components), option("signed-by"), option("arch"))];
  });
}

/** Sources of binary packages in a file of paragraphs (`.sources`). Facts: sources.list(5), "deb822-style format". */
export function parseSources(text: string): AptSource[] {
  return text.split(/\n(?:[ \t]*\n)+/).flatMap((paragraph) => {
    const fields = parseControlParagraph(paragraph.replace(/^#.*\n?/gm, ""));
    const list = (name: string): string[] => words(fields.get(name) ?? "");
    if (!list("types").includes("deb") || /^(no|false|without|off|disable)$/i.test(fields.get("enabled") ?? ""))
      return [];
    const signed = fields.get("signed-by");
    // A key itself has a dot in place of each empty line.
    const signedBy = signed?.includes("-----BEGIN") ? [signed.trim().replace(/^\.$/gm, "")] : signed && words(signed);
    const architectures = fields.has("architectures") ? list("architectures") : undefined;
    return list("uris").flatMap((uri) =>
      list("suites").map((suite) => sourceOf(uri, suite, list("components"), signedBy || undefined, architectures)),
    );
  });
}

function sourceOf(uri: string, suite: string, components: string[], signedBy?: string[], architectures?: string[]) {
  return { uri, suite, components, ...(signedBy && { signedBy }), ...(architectures && { architectures }) };
}

function words(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}
