/** The instructions of a Dockerfile, each checked by its own rules. Variables are not put in yet: that needs a stage's state. */
import { COPY_WORDS_LIMIT } from "../limits.ts";
import { type HealthCheck, parseHealthCheck } from "./health-check.ts";
import type { Heredoc, LogicalLine } from "./lines.ts";
import { DockerfileError } from "./syntax-error.ts";
import { type Flag, jsonList, splitFlags, splitPairs, splitWords } from "./words.ts";

/** JSON form, run as it is; or shell form, given to the shell. */
export type Command = { form: "exec"; words: string[] } | { form: "shell"; text: string };

export interface CopyOptions {
  from: string | undefined;
  chown: string | undefined;
  chmod: string | undefined;
  exclude: string[];
  parents: boolean;
  /** Symlinks on the way to the destination are not followed. */
  link: boolean;
  /** ADD of a URL: the digest that its content must have. */
  checksum: string | undefined;
  /** ADD of an archive: undefined for local ones only. */
  unpack: boolean | undefined;
}

export type InstructionBody =
  | { kind: "arg"; args: { name: string; value: string | undefined }[] }
  | { kind: "env" | "label"; pairs: [string, string][] }
  | { kind: "run"; command: Command; network: string | undefined }
  | { kind: "cmd" | "entrypoint"; command: Command }
  | { kind: "shell"; words: string[] }
  | { kind: "copy" | "add"; options: CopyOptions; sources: string[]; heredocs: Heredoc[]; destination: string }
  | { kind: "volume"; paths: string[] }
  | { kind: "expose"; ports: string }
  | { kind: "user" | "stopsignal" | "maintainer"; value: string }
  | { kind: "workdir"; value: string }
  | { kind: "healthcheck"; check: HealthCheck }
  | { kind: "onbuild"; trigger: string };

export type Instruction = InstructionBody & { line: number; original: string };

export interface FromInstruction {
  kind: "from";
  image: string;
  name: string | undefined;
  platform: string | undefined;
  line: number;
  original: string;
}

type Parser = (line: LogicalLine, parts: Parts) => InstructionBody;
interface Parts {
  flags: Flag[];
  rest: string;
  escapeMark: string;
}

const PARSERS: Record<string, Parser> = {
  ADD: (line, parts) => parseCopy("add", line, parts),
  COPY: (line, parts) => parseCopy("copy", line, parts),
  ARG: (_, parts) => parseArg(parts),
  CMD: (_, parts) => ({ kind: "cmd", command: commandOf(noFlags("CMD", parts)) }),
  ENTRYPOINT: (_, parts) => ({ kind: "entrypoint", command: commandOf(noFlags("ENTRYPOINT", parts)) }),
  ENV: (_, parts) => ({ kind: "env", pairs: splitPairs(noFlags("ENV", parts), "ENV", parts.escapeMark) }),
  LABEL: (_, parts) => ({ kind: "label", pairs: splitPairs(noFlags("LABEL", parts), "LABEL", parts.escapeMark) }),
  EXPOSE: (_, parts) => ({ kind: "expose", ports: needed("EXPOSE", noFlags("EXPOSE", parts)) }),
  HEALTHCHECK: (_, { flags, rest }) => ({ kind: "healthcheck", check: parseHealthCheck(flags, rest) }),
  MAINTAINER: (_, parts) => ({ kind: "maintainer", value: one("MAINTAINER", noFlags("MAINTAINER", parts)) }),
  ONBUILD: (line, parts) => ({ kind: "onbuild", trigger: parseTrigger(line, noFlags("ONBUILD", parts)) }),
  RUN: (line, parts) => parseRun(line, parts),
  SHELL: (_, parts) => {
    const words = jsonList(noFlags("SHELL", parts));
    if (words === undefined) throw new DockerfileError("SHELL requires the arguments to be in JSON form");
    if (words.length === 0) throw new DockerfileError("SHELL requires at least one argument");
    return { kind: "shell", words };
  },
  STOPSIGNAL: (_, parts) => ({ kind: "stopsignal", value: one("STOPSIGNAL", noFlags("STOPSIGNAL", parts)) }),
  USER: (_, parts) => ({ kind: "user", value: one("USER", noFlags("USER", parts)) }),
  VOLUME: (_, parts) => {
    const rest = needed("VOLUME", noFlags("VOLUME", parts));
    return { kind: "volume", paths: jsonList(rest) ?? splitWords(rest, parts.escapeMark) };
  },
  WORKDIR: (_, parts) => ({ kind: "workdir", value: one("WORKDIR", noFlags("WORKDIR", parts)) }),
};

/** Throws DockerfileError with the line's number. */
export function parseInstruction(line: LogicalLine, escapeMark: string): Instruction | FromInstruction {
  try {
    const parts = { ...splitFlags(line.rest, escapeMark), escapeMark };
    const where = { line: line.number, original: line.original };
    if (line.keyword === "FROM") return { ...parseFrom(parts), ...where };
    const parse = Object.hasOwn(PARSERS, line.keyword) ? PARSERS[line.keyword] : undefined;
    if (parse === undefined) throw new DockerfileError(`unknown instruction: ${line.keyword}`);
    return { ...parse(line, parts), ...where };
  } catch (error) {
    throw error instanceof DockerfileError && !error.message.startsWith("dockerfile parse error")
      ? new DockerfileError(error.message, line.number)
      : error;
  }
}

function parseFrom({ flags, rest, escapeMark }: Parts): Omit<FromInstruction, "line" | "original"> {
  const [image, as, name, ...more] = splitWords(rest, escapeMark);
  if (image === undefined || more.length > 0 || (as !== undefined && (name === undefined || as.toLowerCase() !== "as")))
    throw new DockerfileError("FROM requires either one or three arguments");
  const stage = name?.toLowerCase();
  if (stage !== undefined && !/^[a-z][a-z0-9-_.]*$/.test(stage))
    throw new DockerfileError(
      `invalid name for build stage: ${JSON.stringify(stage)}, name can't start with a number or contain symbols`,
    );
  return { kind: "from", image, name: stage, platform: onlyFlags("FROM", flags, ["platform"]).get("platform") };
}

function parseArg(parts: Parts): InstructionBody {
  const words = splitWords(needed("ARG", noFlags("ARG", parts)), parts.escapeMark);
  const args = words.map((word) => {
    const [, name = "", value] = /^([^=]*)(?:=([\s\S]*))?$/.exec(word) ?? [];
    if (name === "") throw new DockerfileError("ARG names can not be blank");
    return { name, value };
  });
  return { kind: "arg", args };
}

function parseRun(line: LogicalLine, { flags, rest }: Parts): InstructionBody {
  for (const { name } of flags) {
    if (name === "mount")
      throw new DockerfileError(
        "the --mount option requires BuildKit: use a builder of `docker buildx create --driver docker-container`, or write RUN without --mount",
      );
    if (name === "security")
      throw new DockerfileError(
        "the --security option requires BuildKit with an entitlement: every RUN has a VM of its own here; leave it out",
      );
  }
  const network = onlyFlags("RUN", flags, ["network"]).get("network");
  if (network !== undefined && !["default", "none", "host"].includes(network))
    throw new DockerfileError(`invalid network mode ${JSON.stringify(network)}: default, none or host`);
  if (line.heredocs.length === 0) return { kind: "run", command: commandOf(needed("RUN", rest)), network };
  const texts = line.heredocs.map(({ name, content }) => `${content}${name}\n`).join("");
  return {
    kind: "run",
    command: { form: "shell", text: scriptOf(rest, line.heredocs) ?? `${rest}\n${texts}` },
    network,
  };
}

/** `RUN <<EOF` alone: the document is the script itself, run by its own interpreter when it names one. */
function scriptOf(rest: string, heredocs: readonly Heredoc[]): string | undefined {
  const [only, ...more] = heredocs;
  if (only === undefined || more.length > 0 || !/^<<-?["']?[\w.-]+["']?$/.test(rest.trim())) return undefined;
  const interpreter = /^#!\s*(\S+)[ \t]*(.*)\n/.exec(only.content);
  if (interpreter === null) return only.content;
  const [, program = "", argument = ""] = interpreter;
  const mark = `EOF_${Bun.hash(only.content).toString(36)}`;
  return `script=$(mktemp) && cat >"$script" <<'${mark}'\n${only.content}${mark}\n${program} ${argument} "$script"; status=$?; rm -f "$script"; exit $status`;
}

function parseCopy(kind: "copy" | "add", line: LogicalLine, { flags, rest, escapeMark }: Parts): InstructionBody {
  const keyword = line.keyword;
  const known =
    kind === "copy"
      ? ["from", "chown", "chmod", "exclude", "parents", "link"]
      : ["chown", "chmod", "exclude", "link", "checksum", "unpack", "keep-git-dir"];
  const given = onlyFlags(keyword, flags, known);
  if (given.has("keep-git-dir"))
    throw new DockerfileError(
      "ADD of a git repository is not supported: clone it in a RUN instruction, or use its archive's URL",
    );
  const words = jsonList(rest) ?? splitWords(rest, escapeMark);
  if (words.length > COPY_WORDS_LIMIT)
    throw new DockerfileError(`${keyword} has more than ${COPY_WORDS_LIMIT} sources`);
  const destination = words.at(-1);
  if (words.length < 2 || destination === undefined)
    throw new DockerfileError(`${keyword} requires at least two arguments`);
  const isMark = (word: string): boolean => /^<<-?["']?[\w.-]+["']?$/.test(word);
  return {
    kind,
    options: {
      from: given.get("from"),
      chown: given.get("chown"),
      chmod: given.get("chmod"),
      exclude: flags.flatMap(({ name, value }) => (name === "exclude" && value ? [value] : [])),
      parents: switchOf(keyword, given, "parents") ?? false,
      link: switchOf(keyword, given, "link") ?? false,
      checksum: given.get("checksum"),
      unpack: switchOf(keyword, given, "unpack"),
    },
    sources: words.slice(0, -1).filter((word) => line.heredocs.length === 0 || !isMark(word)),
    heredocs: line.heredocs,
    destination,
  };
}

function parseTrigger(line: LogicalLine, rest: string): string {
  const keyword = (/^\S+/.exec(rest)?.[0] ?? "").toUpperCase();
  if (keyword === "") throw new DockerfileError("ONBUILD requires at least one argument");
  if (keyword === "ONBUILD") throw new DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (keyword === "FROM" || keyword === "MAINTAINER")
    throw new DockerfileError(`${keyword} isn't allowed as an ONBUILD trigger`);
  return [rest, ...line.heredocs.map(({ name, content }) => `${content}${name}`)].join("\n");
}

export function commandOf(text: string): Command {
  const words = jsonList(text);
  return words === undefined ? { form: "shell", text } : { form: "exec", words };
}

function noFlags(keyword: string, { flags, rest }: Parts): string {
  onlyFlags(keyword, flags, []);
  return rest;
}

/** Repeated flags keep their last value; callers that collect read the list themselves. */
function onlyFlags(keyword: string, flags: readonly Flag[], known: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  for (const { name, value } of flags) {
    if (!known.includes(name)) throw new DockerfileError(`unknown flag: --${name} (${keyword})`);
    if (value === undefined && !SWITCHES.has(name)) throw new DockerfileError(`missing a value on flag: ${name}`);
    if (values.has(name) && name !== "exclude") throw new DockerfileError(`duplicate flag specified: ${name}`);
    values.set(name, value ?? "true");
  }
  return values;
}

const SWITCHES = new Set(["parents", "link", "unpack", "keep-git-dir"]);

function switchOf(keyword: string, given: ReadonlyMap<string, string>, name: string): boolean | undefined {
  const value = given.get(name)?.toLowerCase();
  if (value === undefined) return undefined;
  if (value !== "true" && value !== "false")
    throw new DockerfileError(`expecting boolean value for flag ${name} of ${keyword}, not: ${value}`);
  return value === "true";
}

function needed(keyword: string, rest: string): string {
  if (rest.trim() === "") throw new DockerfileError(`${keyword} requires at least one argument`);
  return rest;
}

function one(keyword: string, rest: string): string {
  if (rest.trim() === "") throw new DockerfileError(`${keyword} requires exactly one argument`);
  return rest.trim();
}
