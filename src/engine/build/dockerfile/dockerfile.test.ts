// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are variables of a Dockerfile
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { expandHeredoc, expandWord, expandWords } from "./expand.ts";
import { readLines } from "./lines.ts";
import { findStage, parseDockerfile, parseTriggers } from "./stages.ts";
import { jsonList, splitFlags, splitPairs, splitWords } from "./words.ts";

const originals = (text: string): string[] => readLines(text).lines.map(({ original }) => original);
const onlyInstruction = (text: string) => parseDockerfile(`FROM x\n${text}`).stages[0]?.instructions[0];

describe("lines", () => {
  test("comments, empty lines and continued lines", () => {
    expect(
      originals("\uFEFF# comment\n\nFROM a\n  RUN one \\\n  # between\n\n   two\\  \n three\r\nCMD x \\\\\nUSER y"),
    ).toEqual(["FROM a", "RUN one    two three", "CMD x \\\\", "USER y"]);
  });

  test("directives stand first, each once", () => {
    expect(readLines("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN x `\n y").lines[1]?.original).toBe(
      "RUN x  y",
    );
    // After a comment it is only a comment.
    expect(originals("# hello\n# escape=`\nRUN x \\\n y")).toEqual(["RUN x  y"]);
    expect(() => readLines("# escape=`\n# escape=`\nFROM a")).toThrow("only one escape parser directive can be used");
    expect(() => readLines("# escape=x\nFROM a")).toThrow("invalid escape token");
  });

  test("here-documents", () => {
    const { lines } = readLines('RUN <<A cat <<-"B"\n $x\nA\n\tindented\n\tB\nUSER y');
    expect(lines.map(({ heredocs }) => heredocs)).toEqual([
      [
        { name: "A", content: " $x\n", expand: true },
        { name: "B", content: "indented\n", expand: false },
      ],
      [],
    ]);
    for (const text of ["RUN cat <<<word", 'RUN echo "<<EOF"', 'RUN ["<<EOF"]', "CMD cat <<EOF", "RUN echo a<<b"])
      expect(readLines(text).lines[0]?.heredocs, text).toEqual([]);
    expect(() => readLines("FROM a\nRUN <<EOF\nx")).toThrow("dockerfile parse error on line 2: unterminated heredoc");
  });

  test("nothing in it", () => {
    for (const text of ["", "\n \n", "# only a comment"])
      expect(() => readLines(text)).toThrow("file with no instructions");
  });
});

describe("variables", () => {
  const values: Record<string, string> = { a: "A", empty: "", path: "/usr/lib/x.tar.gz", "1": "one" };
  const expansion = { escapeMark: "\\", lookUp: (name: string) => values[name] };
  const one = (text: string): string => expandWord(text, expansion);

  test.each([
    ["$a", "A"],
    ["${a}b", "Ab"],
    ["$ab", ""],
    ["\\$a", "$a"],
    ["'$a'", "$a"],
    ['"$a b"', "A b"],
    ['"\\"\\$a\\x"', '"$a\\x'],
    ["${empty:-x}", "x"],
    ["${empty-x}", ""],
    ["${none-x}", "x"],
    ["${none:-${a}y}", "Ay"],
    ["${a:+set}", "set"],
    ["${empty:+set}", ""],
    ["${empty+set}", "set"],
    ["${none+set}", ""],
    ["${none:-}", ""],
    ["${path#*/}", "usr/lib/x.tar.gz"],
    ["${path##*/}", "x.tar.gz"],
    ["${path%.*}", "/usr/lib/x.tar"],
    ["${path%%.*}", "/usr/lib/x"],
    ["${path/lib/bin}", "/usr/bin/x.tar.gz"],
    ["${path//r/R}", "/usR/lib/x.taR.gz"],
    ["${path//[/x}", "/usr/lib/x.tar.gz"],
    ["$1", "one"],
    ["cost: 5$", "cost: 5$"],
    ["$$a", "a"],
  ])("%s is %s", (text, wanted) => {
    expect(one(text)).toBe(wanted);
  });

  test("agrees with the shell", () => {
    const value = fc.stringMatching(/^[a-c/.]{0,8}$/);
    const pattern = fc.stringMatching(/^[a-c/.*?]{1,4}$/);
    const form = fc.oneof(
      fc.constantFrom(":-", "-", ":+", "+").chain((operator) => value.map((word) => `${operator}${word}`)),
      fc.constantFrom("#", "##", "%", "%%").chain((operator) => pattern.map((word) => `${operator}${word}`)),
    );
    const samples = fc.sample(fc.tuple(fc.option(value, { nil: undefined }), form), 150);
    const script = samples
      .map(([given, text]) => `unset x; ${given === undefined ? "" : `x='${given}';`} printf '%s\\n' "\${x${text}}"`)
      .join("\n");
    const { stdout } = Bun.spawnSync(["sh"], { stdin: Buffer.from(script) });
    const answers = stdout.toString().split("\n");
    for (const [index, [given, text]] of samples.entries())
      expect(expandWord(`"\${x${text}}"`, { escapeMark: "\\", lookUp: () => given }), `x=${given} \${x${text}}`).toBe(
        answers[index] ?? "",
      );
  });

  test("white space splits words unless it is quoted", () => {
    const list = { escapeMark: "\\", lookUp: () => "1 2" };
    expect(expandWords("$x \"$x\" a\\ b ''", list)).toEqual(["1", "2", "1 2", "a b", ""]);
  });

  test("quotes of a here-document stay", () => {
    expect(expandHeredoc("'$a' \"${none:-x}\" \\$a \\n", expansion)).toBe("'A' \"x\" $a \\n");
  });

  test("what cannot be understood", () => {
    for (const text of ["${a", "${}", "${a:x}", '"a', "'a", "${a!}", "${a:"]) expect(() => one(text), text).toThrow();
    expect(() => one("${none:?must be there}")).toThrow("none: must be there");
  });

  test("neither pattern nor length can hold it up", () => {
    // What tries every way to match would not end within the test's time.
    const long = { escapeMark: "\\", lookUp: () => "a".repeat(1024) };
    expect(expandWord(`\${x//${"*a".repeat(10)}b/y}`, long)).toBe("a".repeat(1024));
    expect(() => expandWord("${x#a}", { ...long, lookUp: () => "a".repeat(5000) })).toThrow("at most 1024");
    expect(() => expandWord("$x".repeat(300), long)).toThrow("longer than");
  });

  test("any text is expanded or refused", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[$a{}:+\-#%/"'\\ *?x]{0,20}$/), (text) => {
        try {
          expect(typeof one(text)).toBe("string");
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect((error as Error).name).toBe("EngineError");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("words", () => {
  test("flags end at the first word that is none", () => {
    expect(splitFlags('--a=b --c --D="x y" rest --no', "\\")).toEqual({
      flags: [
        { name: "a", value: "b" },
        { name: "c", value: undefined },
        { name: "d", value: "x y" },
      ],
      rest: "rest --no",
    });
    expect(splitFlags("-- --x", "\\").rest).toBe("--x");
  });

  test("quotes keep words together and stay", () => {
    expect(splitWords(`a "b c" d\\ e 'f g'h`, "\\")).toEqual(["a", '"b c"', "d\\ e", "'f g'h"]);
  });

  test("pairs, and the old form", () => {
    expect(splitPairs('a=1 b="x y" c=', "ENV", "\\")).toEqual([
      ["a", "1"],
      ["b", '"x y"'],
      ["c", ""],
    ]);
    expect(splitPairs("name the rest = of it", "ENV", "\\")).toEqual([["name", "the rest = of it"]]);
    expect(() => splitPairs("a=1 b", "ENV", "\\")).toThrow('can\'t find = in "b"');
    expect(() => splitPairs("a", "LABEL", "\\")).toThrow("LABEL must have two arguments");
    expect(() => splitPairs("=x", "ENV", "\\")).toThrow("names can not be blank");
  });

  test("what is no list of strings is the shell form", () => {
    expect(jsonList(' ["a", "b"]')).toEqual(["a", "b"]);
    for (const text of ["['a']", "[1]", "[ -f x ]", "{}", 'echo ["a"]']) expect(jsonList(text)).toBeUndefined();
  });
});

describe("instructions", () => {
  test("each by its rules", () => {
    expect(
      onlyInstruction("COPY --from=a --chown=1:2 --chmod=755 --exclude=*.x --exclude=y --parents a b c/"),
    ).toMatchObject({
      kind: "copy",
      options: { from: "a", chown: "1:2", chmod: "755", exclude: ["*.x", "y"], parents: true, link: false },
      sources: ["a", "b"],
      destination: "c/",
    });
    expect(onlyInstruction('ADD ["a b", "/c d"]')).toMatchObject({ sources: ["a b"], destination: "/c d" });
    expect(onlyInstruction("COPY <<one <<two /dir/\n1\none\n2\ntwo")).toMatchObject({
      sources: [],
      heredocs: [{ name: "one" }, { name: "two" }],
    });
    expect(onlyInstruction('CMD ["a"]')).toMatchObject({ command: { form: "exec", words: ["a"] } });
    expect(onlyInstruction("ENTRYPOINT a b")).toMatchObject({ command: { form: "shell", text: "a b" } });
    expect(onlyInstruction("RUN <<EOF\necho a\nEOF")).toMatchObject({ command: { form: "shell", text: "echo a\n" } });
    expect(onlyInstruction("RUN cat <<EOF\na\nEOF")).toMatchObject({ command: { text: "cat <<EOF\na\nEOF\n" } });
    expect(onlyInstruction("ARG a b=c")).toMatchObject({
      args: [
        { name: "a", value: undefined },
        { name: "b", value: "c" },
      ],
    });
    expect(onlyInstruction("HEALTHCHECK --interval=5s --retries=2 CMD true")).toMatchObject({
      check: { Test: ["CMD-SHELL", "true"], Interval: 5e9, Retries: 2 },
    });
  });

  test.each([
    ["FRM x", "dockerfile parse error on line 2: unknown instruction: FRM"],
    ["COPY a", "COPY requires at least two arguments"],
    ["COPY --chwn=1 a b", "unknown flag: --chwn (COPY)"],
    ["COPY --from a b", "missing a value on flag: from"],
    ["COPY --chown=1 --chown=2 a b", "duplicate flag specified: chown"],
    ["RUN --mount=type=cache,target=/x true", "the --mount option requires BuildKit"],
    ["RUN", "RUN requires at least one argument"],
    ["SHELL sh -c", "SHELL requires the arguments to be in JSON form"],
    ["ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    ["ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"],
    ["HEALTHCHECK GET /", 'unknown type "GET" in HEALTHCHECK (try CMD)'],
    ["HEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"],
    ["ENV a", "ENV must have two arguments"],
    ["FROM a b c", "FROM requires either one or three arguments"],
    ["FROM a AS 1x", 'invalid name for build stage: "1x"'],
  ])("%s is refused", (text, reason) => {
    expect(() => onlyInstruction(text)).toThrow(reason);
  });
});

describe("stages", () => {
  test("arguments before them, names and numbers", () => {
    const { globals, stages } = parseDockerfile(
      "ARG v=1\nFROM a:$v AS one\nRUN x\nFROM b\nFROM --platform=linux/amd64 one AS Two",
    );
    expect(globals).toMatchObject([{ args: [{ name: "v", value: "1" }] }]);
    expect(stages.map(({ from }) => [from.image, from.name, from.platform])).toEqual([
      ["a:$v", "one", undefined],
      ["b", undefined, undefined],
      ["one", "two", "linux/amd64"],
    ]);
    expect(["one", "TWO", "1", "3", "x"].map((name) => findStage(stages, name))).toEqual([
      0,
      2,
      1,
      undefined,
      undefined,
    ]);
  });

  test("what cannot be", () => {
    expect(() => parseDockerfile("RUN x\nFROM a")).toThrow("no build stage in current context");
    expect(() => parseDockerfile("ARG x")).toThrow("no build stage in current context");
    expect(() => parseDockerfile("FROM a AS b\nFROM c AS B")).toThrow("duplicate name b");
    expect(() => parseDockerfile("FROM a\n".repeat(101))).toThrow("more than 100 stages");
    expect(() => parseDockerfile(`FROM a\n${"USER x\n".repeat(1001)}`)).toThrow("more than 1000 instructions");
  });

  test("triggers", () => {
    expect(parseTriggers(["RUN a", "COPY <<E /x\ntext\nE"])).toMatchObject([{ kind: "run" }, { kind: "copy" }]);
    expect(() => parseTriggers(["FROM a"])).toThrow("FROM isn't allowed as an ONBUILD trigger");
  });

  test("any text is a Dockerfile or an error that says where", () => {
    const line = fc.tuple(
      fc.constantFrom("FROM", "RUN", "COPY", "ENV", "ARG", "ONBUILD", "HEALTHCHECK", "LABEL", "SHELL", "#", ""),
      fc.stringMatching(/^[a-c"'[\]$<=\-\\ `]{0,12}$/),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        try {
          parseDockerfile(lines.map((words) => words.join(" ")).join("\n"));
        } catch (error) {
          expect((error as Error).name).toBe("EngineError");
        }
      }),
      { numRuns: 2000 },
    );
  });
});
