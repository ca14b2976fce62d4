/** Variables, quotes and escapes in the words of an instruction: `$x`, `${x:-default}`, `${x#prefix}` and the like. */
import { PATTERN_SUBJECT_LIMIT, WORD_LIMIT } from "../limits.ts";
import { DockerfileError } from "./syntax-error.ts";

export interface Expansion {
  escapeMark: string;
  /** Undefined for a variable that is not set. */
  lookUp(name: string): string | undefined;
}

/** One word: quotes removed, variables put in. Throws DockerfileError. */
export function expandWord(text: string, expansion: Expansion): string {
  return new Expander(text, expansion).all().text;
}

/** The same, split at white space that is not quoted. */
export function expandWords(text: string, expansion: Expansion): string[] {
  return new Expander(text, expansion).all().words;
}

/** A here-document: variables only, quotes stay. */
export function expandHeredoc(text: string, expansion: Expansion): string {
  return new Expander(text, expansion, { keepQuotes: true }).all().text;
}

class Words {
  text = "";
  readonly #done: string[] = [];
  #word = "";
  #begun = false;

  /** What splits words when it is white space. */
  addSplitting(piece: string): void {
    this.#grow(piece);
    for (const character of piece) {
      if (/\s/.test(character)) this.#end();
      else {
        this.#word += character;
        this.#begun = true;
      }
    }
  }

  addWhole(piece: string): void {
    this.#grow(piece);
    this.#word += piece;
    this.#begun = true;
  }

  get words(): string[] {
    return this.#begun ? [...this.#done, this.#word] : this.#done;
  }

  #end(): void {
    if (this.#begun) this.#done.push(this.#word);
    this.#word = "";
    this.#begun = false;
  }

  #grow(piece: string): void {
    this.text += piece;
    if (this.text.length > WORD_LIMIT)
      throw new DockerfileError(`a word is longer than ${WORD_LIMIT} characters after its variables were put in`);
  }
}

class Expander {
  #at = 0;

  constructor(
    private readonly source: string,
    private readonly expansion: Expansion,
    private readonly options: { keepQuotes: boolean } = { keepQuotes: false },
  ) {}

  all(): Words {
    return this.#until("");
  }

  /** Up to `stop`, which is taken. */
  #until(stop: string): Words {
    const words = new Words();
    const { source } = this;
    while (this.#at < source.length) {
      const character = source.charAt(this.#at);
      if (stop !== "" && character === stop) {
        this.#at += 1;
        return words;
      }
      if (!this.options.keepQuotes && character === "'") words.addWhole(this.#singleQuoted());
      else if (!this.options.keepQuotes && character === '"') words.addWhole(this.#doubleQuoted());
      else if (character === "$") words.addSplitting(this.#variable());
      else if (character === this.expansion.escapeMark) this.#escaped(words);
      else {
        words.addSplitting(character);
        this.#at += 1;
      }
    }
    if (stop !== "") throw this.#failure(`unexpected end of statement while looking for matching ${stop}`);
    return words;
  }

  #escaped(words: Words): void {
    const next = this.source.charAt(this.#at + 1);
    this.#at += 2;
    if (this.options.keepQuotes && next !== "$" && next !== this.expansion.escapeMark)
      words.addWhole(this.expansion.escapeMark + next);
    else if (next !== "") words.addWhole(next);
  }

  #singleQuoted(): string {
    const end = this.source.indexOf("'", this.#at + 1);
    if (end === -1) throw this.#failure("unexpected end of statement while looking for matching single-quote");
    const text = this.source.slice(this.#at + 1, end);
    this.#at = end + 1;
    return text;
  }

  #doubleQuoted(): string {
    let text = "";
    this.#at += 1;
    for (;;) {
      const character = this.source.charAt(this.#at);
      if (character === "") throw this.#failure("unexpected end of statement while looking for matching double-quote");
      if (character === '"') break;
      if (character === "$") {
        text += this.#variable();
        continue;
      }
      const next = this.source.charAt(this.#at + 1);
      if (
        character === this.expansion.escapeMark &&
        (next === '"' || next === "$" || next === this.expansion.escapeMark)
      ) {
        text += next;
        this.#at += 2;
        continue;
      }
      text += character;
      this.#at += 1;
    }
    this.#at += 1;
    return text;
  }

  #variable(): string {
    this.#at += 1;
    if (this.source.charAt(this.#at) !== "{") {
      const name = this.#name();
      return name === "" ? "$" : (this.expansion.lookUp(name) ?? "");
    }
    this.#at += 1;
    const name = this.#name();
    if (name === "") throw this.#failure("bad substitution");
    const value = this.expansion.lookUp(name);
    const modifier = this.source.charAt(this.#at);
    this.#at += 1;
    switch (modifier) {
      case "}":
        return value ?? "";
      case ":": {
        const kind = this.source.charAt(this.#at);
        this.#at += 1;
        return this.#conditional(kind, name, value, value !== undefined && value !== "");
      }
      case "-":
      case "+":
      case "?":
        return this.#conditional(modifier, name, value, value !== undefined);
      case "#":
      case "%":
        return this.#trimmed(modifier, value ?? "");
      case "/":
        return this.#replaced(value ?? "");
      default:
        throw this.#failure(
          modifier === "" ? "missing ':' in substitution" : `unsupported modifier (${modifier}) in substitution`,
        );
    }
  }

  #conditional(kind: string, name: string, value: string | undefined, isSet: boolean): string {
    if (kind !== "-" && kind !== "+" && kind !== "?")
      throw this.#failure(`unsupported modifier (${kind}) in substitution`);
    const word = this.#until("}").text;
    if (kind === "-") return isSet ? (value ?? "") : word;
    if (kind === "+") return isSet ? word : "";
    if (!isSet) throw new DockerfileError(`${name}: ${word === "" ? "is not allowed to be unset" : word}`);
    return value ?? "";
  }

  /** `${x#pattern}` and `${x%pattern}`, doubled for the longest match. */
  #trimmed(kind: string, value: string): string {
    const longest = this.source.charAt(this.#at) === kind;
    if (longest) this.#at += 1;
    const pattern = parsePattern(this.#until("}").text);
    this.#bound(value);
    if (kind === "#") {
      const match = matchPrefix(pattern, value, 0);
      return match === undefined ? value : value.slice(longest ? match.longest : match.shortest);
    }
    const match = matchPrefix(pattern.toReversed(), [...value].reverse().join(""), 0);
    return match === undefined ? value : value.slice(0, value.length - (longest ? match.longest : match.shortest));
  }

  /** `${x/pattern/replacement}`, with `//` for every match. */
  #replaced(value: string): string {
    const all = this.source.charAt(this.#at) === "/";
    if (all) this.#at += 1;
    const pattern = parsePattern(this.#until("/").text);
    const replacement = this.#until("}").text;
    this.#bound(value);
    let result = "";
    for (let at = 0; at < value.length; ) {
      const end = matchPrefix(pattern, value, at)?.longest ?? at;
      if (end === at) {
        result += value.charAt(at);
        at += 1;
        continue;
      }
      result += replacement;
      at = end;
      if (!all) return result + value.slice(at);
      if (result.length > WORD_LIMIT) throw this.#failure(`the result is longer than ${WORD_LIMIT} characters`);
    }
    return result;
  }

  #bound(value: string): void {
    if (value.length > PATTERN_SUBJECT_LIMIT)
      throw this.#failure(`patterns are matched against values of at most ${PATTERN_SUBJECT_LIMIT} characters`);
  }

  /** Letters, digits and `_`; or one of the shell's special names. */
  #name(): string {
    const [name = ""] =
      /^(?:[A-Za-z_]\w*|\d+|[@*#?$!-])/.exec(this.source.slice(this.#at, this.#at + WORD_LIMIT)) ?? [];
    this.#at += name.length;
    return name;
  }

  #failure(reason: string): DockerfileError {
    return new DockerfileError(`failed to process ${JSON.stringify(this.source)}: ${reason}`);
  }
}

interface PatternPart {
  kind: "any" | "one" | "literal";
  text: string;
}

/** `*` and `?` of a shell pattern; a backslash takes the next character as it is. */
function parsePattern(pattern: string): PatternPart[] {
  const parts: PatternPart[] = [];
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern.charAt(index);
    if (character === "*") parts.push({ kind: "any", text: "" });
    else if (character === "?") parts.push({ kind: "one", text: "" });
    else {
      if (character === "\\" && index + 1 < pattern.length) index += 1;
      parts.push({ kind: "literal", text: pattern.charAt(index) });
    }
  }
  return parts;
}

/** Ends of the shortest and longest match that begins at `start`: all states of the pattern are followed at once. */
function matchPrefix(
  parts: readonly PatternPart[],
  text: string,
  start: number,
): { shortest: number; longest: number } | undefined {
  const close = (set: Set<number>): Set<number> => {
    // A set that grows while it is walked is walked to its new end.
    for (const state of set) if (parts[state]?.kind === "any") set.add(state + 1);
    return set;
  };
  let states = close(new Set([0]));
  let found: { shortest: number; longest: number } | undefined;
  for (let at = start; ; at++) {
    if (states.has(parts.length)) found = { shortest: found?.shortest ?? at, longest: at };
    if (at >= text.length || states.size === 0) return found;
    const character = text.charAt(at);
    const next = new Set<number>();
    for (const state of states) {
      const part = parts[state];
      if (part?.kind === "any") next.add(state);
      else if (part?.kind === "one" || (part?.kind === "literal" && part.text === character)) next.add(state + 1);
    }
    states = close(next);
  }
}
