/** Splits the rest of an instruction into its flags, JSON lists and words. Quotes stay: expansion removes them. */
import { COPY_WORDS_LIMIT } from "../limits.ts";
import { DockerfileError } from "./syntax-error.ts";

export interface Flag {
  name: string;
  /** Undefined for a bare `--name`. */
  value: string | undefined;
}

/** Words that begin with `--` before the first that does not; a lone `--` ends them. */
export function splitFlags(text: string, escapeMark: string): { flags: Flag[]; rest: string } {
  const flags: Flag[] = [];
  let rest = text.trimStart();
  while (rest.startsWith("--")) {
    const { word, after } = firstWord(rest, escapeMark);
    rest = after.trimStart();
    if (word === "--") break;
    const [, name = "", value] = /^--([^=]*)(?:=([\s\S]*))?$/.exec(word) ?? [];
    flags.push({ name: name.toLowerCase(), value });
    if (flags.length > COPY_WORDS_LIMIT) throw new DockerfileError(`more than ${COPY_WORDS_LIMIT} flags`);
  }
  return { flags, rest };
}

function firstWord(text: string, escapeMark: string): { word: string; after: string } {
  let quote = "";
  let word = "";
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index);
    if (quote === "" && /\s/.test(character)) return { word, after: text.slice(index) };
    if (character === escapeMark && quote !== "'" && index + 1 < text.length) {
      index += 1;
      word += text.charAt(index);
    } else if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (character === quote) quote = "";
    else word += character;
  }
  return { word, after: "" };
}

/** A JSON list of strings, or undefined: then it is the shell form. */
export function jsonList(text: string): string[] | undefined {
  if (!text.trimStart().startsWith("[")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** At white space outside quotes. */
export function splitWords(text: string, escapeMark: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index);
    if (quote === "" && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    word = (word ?? "") + character;
    if (character === escapeMark && quote !== "'" && index + 1 < text.length) {
      index += 1;
      word += text.charAt(index);
    } else if (quote === "" && (character === '"' || character === "'")) quote = character;
    else if (character === quote) quote = "";
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** `name=value …`, or the old `name value with spaces` of ENV and LABEL. */
export function splitPairs(text: string, keyword: string, escapeMark: string): [string, string][] {
  const words = splitWords(text, escapeMark);
  const [first] = words;
  if (first === undefined) throw new DockerfileError(`${keyword} requires at least one argument`);
  if (!first.includes("=")) {
    const [, name = "", value] = /^(\S+)\s+([\s\S]*)$/.exec(text.trim()) ?? [];
    if (value === undefined) throw new DockerfileError(`${keyword} must have two arguments`);
    return [[name, value]];
  }
  return words.map((word) => {
    const separator = word.indexOf("=");
    if (separator < 0)
      throw new DockerfileError(
        `Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`,
      );
    if (separator === 0) throw new DockerfileError(`${keyword} names can not be blank`);
    return [word.slice(0, separator), word.slice(separator + 1)];
  });
}
