/**
 * A Dockerfile's logical lines: parser directives, comments, continued lines and here-documents.
 * By the Dockerfile reference (https://docs.docker.com/reference/dockerfile/).
 */
import { DOCKERFILE_LIMIT, STEPS_LIMIT } from "../limits.ts";
import { DockerfileError } from "./syntax-error.ts";

export interface Heredoc {
  name: string;
  /** With line ends; leading tabs are gone when it began with `<<-`. */
  content: string;
  /** The name was not quoted: variables are put in. */
  expand: boolean;
}

export interface LogicalLine {
  /** First line of it, counted from 1. */
  number: number;
  /** Upper case. */
  keyword: string;
  /** What follows the keyword, continued lines joined. */
  rest: string;
  /** As written, on one line. */
  original: string;
  heredocs: Heredoc[];
}

export interface DockerfileLines {
  /** `\`, or a backtick by the `escape` directive. */
  escapeMark: string;
  lines: LogicalLine[];
}

const DIRECTIVE = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const DIRECTIVES = new Set(["syntax", "escape", "check"]);
const COMMENT = /^[ \t]*#/;
const HEREDOC = /<<(-?)(?:"([A-Za-z_][\w.-]*)"|'([A-Za-z_][\w.-]*)'|([A-Za-z_][\w.-]*))/g;
const HEREDOC_INSTRUCTIONS = new Set(["ADD", "COPY", "RUN"]);

/** Throws DockerfileError. */
export function readLines(text: string): DockerfileLines {
  if (text.length > DOCKERFILE_LIMIT)
    throw new DockerfileError(`the Dockerfile is longer than ${DOCKERFILE_LIMIT} bytes`);
  const physical = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  const { escapeMark, next } = readDirectives(physical);
  const lines: LogicalLine[] = [];
  for (let index = next; index < physical.length; ) {
    const read = readLogical(physical, index, escapeMark);
    index = read.next;
    if (read.line !== undefined) lines.push(read.line);
    if (lines.length > STEPS_LIMIT)
      throw new DockerfileError(`the Dockerfile has more than ${STEPS_LIMIT} instructions`);
  }
  if (lines.length === 0) throw new DockerfileError("file with no instructions");
  return { escapeMark, lines };
}

/** Directives stand before everything else, comments and empty lines included. */
function readDirectives(physical: readonly string[]): { escapeMark: string; next: number } {
  const seen = new Map<string, string>();
  let next = 0;
  for (; next < physical.length; next++) {
    const [, name = "", value = ""] = DIRECTIVE.exec((physical[next] ?? "").trim()) ?? [];
    const directive = name.toLowerCase();
    if (!DIRECTIVES.has(directive)) break;
    if (seen.has(directive)) throw new DockerfileError(`only one ${directive} parser directive can be used`, next + 1);
    seen.set(directive, value);
  }
  const escapeMark = seen.get("escape") ?? "\\";
  if (escapeMark !== "\\" && escapeMark !== "`")
    throw new DockerfileError(`invalid escape token '${escapeMark}' does not match ${"`"} or \\`, 1);
  return { escapeMark, next };
}

function readLogical(
  physical: readonly string[],
  start: number,
  escapeMark: string,
): { line: LogicalLine | undefined; next: number } {
  let index = start;
  const first = (physical[index] ?? "").trimStart();
  index += 1;
  if (first === "" || COMMENT.test(first)) return { line: undefined, next: index };
  const pieces: string[] = [];
  let piece = first;
  for (;;) {
    const continued = withoutContinuation(piece, escapeMark);
    pieces.push(continued ?? piece);
    if (continued === undefined) break;
    // Comments and empty lines between continued lines belong to nobody.
    while (index < physical.length && isSkipped(physical[index] ?? "")) index += 1;
    if (index >= physical.length) break;
    piece = physical[index] ?? "";
    index += 1;
  }
  const joined = pieces.join("").trim();
  const [, word = "", rest = ""] = /^(\S+)\s*([\s\S]*)$/.exec(joined) ?? [];
  const keyword = word.toUpperCase();
  const heredocs: Heredoc[] = [];
  const body = keyword === "ONBUILD" ? rest : joined;
  if (HEREDOC_INSTRUCTIONS.has((/^\S+/.exec(body)?.[0] ?? "").toUpperCase())) {
    for (const { name, stripTabs, expand } of heredocsOf(body)) {
      const read = readHeredoc(physical, index, { name, stripTabs, line: start + 1 });
      heredocs.push({ name, content: read.content, expand });
      index = read.next;
    }
  }
  return { line: { number: start + 1, keyword, rest, original: joined, heredocs }, next: index };
}

const isSkipped = (line: string): boolean => line.trim() === "" || COMMENT.test(line);

/** The line without its continuation mark, or undefined when it ends here. Two escapes at the end are no mark. */
function withoutContinuation(line: string, escapeMark: string): string | undefined {
  const trimmed = line.replace(/[ \t]+$/, "");
  if (!trimmed.endsWith(escapeMark) || trimmed.endsWith(escapeMark + escapeMark)) return undefined;
  return trimmed.slice(0, -1);
}

/** Here-document marks outside quotes, in order. JSON form has none. */
function heredocsOf(text: string): { name: string; stripTabs: boolean; expand: boolean }[] {
  const found: { name: string; stripTabs: boolean; expand: boolean }[] = [];
  if (/^\S+\s+(--\S+\s+)*\[/.test(text)) return found;
  for (const match of text.matchAll(HEREDOC)) {
    const before = text[match.index - 1] ?? " ";
    // `<<<` is a here-string of the shell; a mark stands at the start of a word or after a descriptor's number.
    if (before === "<" || !/[\s\d;&|(]/.test(before) || inQuotes(text, match.index)) continue;
    found.push({
      name: match[2] ?? match[3] ?? match[4] ?? "",
      stripTabs: match[1] === "-",
      expand: match[4] !== undefined,
    });
  }
  return found;
}

function inQuotes(text: string, position: number): boolean {
  let quote = "";
  for (let index = 0; index < position; index++) {
    const character = text.charAt(index);
    if (character === "\\" && quote !== "'") index += 1;
    else if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (character === quote) quote = "";
  }
  return quote !== "";
}

function readHeredoc(
  physical: readonly string[],
  start: number,
  { name, stripTabs, line }: { name: string; stripTabs: boolean; line: number },
): { content: string; next: number } {
  let content = "";
  for (let index = start; index < physical.length; index++) {
    const text = stripTabs ? (physical[index] ?? "").replace(/^\t+/, "") : (physical[index] ?? "");
    if (text === name) return { content, next: index + 1 };
    content += `${text}\n`;
  }
  throw new DockerfileError(`unterminated heredoc: the line "${name}" that ends it is missing`, line);
}
