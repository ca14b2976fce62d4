/** One build from its request to its image: stages in their order, instructions in theirs. */
import type { Platform } from "../../registry/manifest.ts";
import type { EngineContext } from "../context.ts";
import type { BuildOptions, Images } from "../contract.ts";
import { EngineError, invalid } from "../errors.ts";
import type { BuildSteps } from "../images/contract.ts";
import { readPlatform } from "../images/platform.ts";
import type { Semaphore } from "../waiting.ts";
import { baseImage, checkedName } from "./base-image.ts";
import { GlobalArguments, StageArguments } from "./build-arguments.ts";
import { openContext } from "./build-source.ts";
import { expandWord } from "./dockerfile/expand.ts";
import type { Instruction } from "./dockerfile/instructions.ts";
import { findStage, parseDockerfile, parseTriggers, type Stage } from "./dockerfile/stages.ts";
import type { FileTree } from "./files/file-tree.ts";
import { Spool } from "./files/spool.ts";
import { STEPS_LIMIT } from "./limits.ts";
import { BuildOutput, shortImageId } from "./output.ts";
import { type Config, StageState } from "./stage-state.ts";
import { type Build, performStep } from "./steps.ts";

export interface Builder {
  context: EngineContext;
  steps: BuildSteps;
  images: Images;
  /** What containers are here. */
  platform: Platform;
  spoolDirectory: string;
}

const SCRATCH = "scratch";

/** `turns` bounds the builds that work at a time; a client may take as long as it likes to send its context. */
export async function performBuild(builder: Builder, options: BuildOptions, turns: Semaphore): Promise<void> {
  if (options.platform !== undefined) readPlatform(options.platform);
  for (const tag of options.tags)
    if (checkedName(tag).digest !== undefined) throw invalid("cannot name an image by its digest");
  await using spool = await Spool.create(builder.spoolDirectory);
  const { tree, dockerfile } = await openContext(spool, options);
  const sources = await cacheSources(builder, options.cacheFrom);
  using work = new StagedBuild(builder, options, tree, dockerfile, sources);
  await turns.run(async () => {
    options.signal.throwIfAborted();
    await work.finish(await work.perform());
  });
}

/** Images that are not here are no cache; nothing is pulled for it, as with Docker. */
async function cacheSources({ context }: Builder, names: readonly string[]): Promise<string[]> {
  const ids: string[] = [];
  for (const name of names) {
    try {
      ids.push((await context.images.resolve(name)).id);
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind !== "not-found") throw error;
    }
  }
  return ids;
}

interface FinishedStage {
  name: string | undefined;
  imageId: string | undefined;
  config: Config;
}

class StagedBuild implements Disposable {
  readonly #build: Build;
  readonly #stages: Stage[];
  readonly #globals: GlobalArguments;
  readonly #dockerfile: ReturnType<typeof parseDockerfile>;
  readonly #finished: FinishedStage[] = [];
  readonly #holds: (() => void)[] = [];
  #step = 0;
  #total: number;

  constructor(
    private readonly builder: Builder,
    private readonly options: BuildOptions,
    files: FileTree,
    dockerfile: string,
    cacheSources: readonly string[],
  ) {
    const { context, steps, platform, spoolDirectory } = builder;
    this.#dockerfile = parseDockerfile(dockerfile);
    this.#stages = withLabels(upTo(this.#dockerfile.stages, options.target), options.labels);
    this.#globals = new GlobalArguments(options.buildArguments, platformArguments(platform, options.target));
    this.#total =
      this.#dockerfile.globals.length +
      this.#stages.length +
      this.#stages.reduce((sum, { instructions }) => sum + instructions.length, 0);
    this.#build = {
      context,
      steps,
      options,
      output: new BuildOutput(options),
      files,
      platform,
      spoolDirectory,
      cacheSources: cacheSources.map((imageId) => {
        this.#holds.push(context.images.hold(imageId));
        return imageId;
      }),
      imageOf: (reference) => this.#imageOf(reference),
      hold: (imageId) => this.#holds.push(context.images.hold(imageId)),
    };
  }

  [Symbol.dispose](): void {
    for (const release of this.#holds) release();
  }

  /** Answers the last stage's image. */
  async perform(): Promise<string> {
    for (const instruction of this.#dockerfile.globals) {
      await this.#announce(instruction.original);
      for (const { name, value } of instruction.args)
        this.#globals.declare(name, value === undefined ? undefined : this.#expandGlobal(value));
    }
    let last: StageState | undefined;
    for (const stage of this.#stages) {
      last = await this.#performStage(stage);
      this.#finished.push({ name: stage.from.name, imageId: last.imageId, config: last.config });
      if (last.imageId !== undefined) await this.#build.output.result(last.imageId);
    }
    if (last?.imageId === undefined) throw invalid("No image was generated. Is your Dockerfile empty?");
    const unused = this.#globals.unused();
    if (unused.length > 0)
      await this.#build.output.line(`[Warning] One or more build-args [${unused.join(" ")}] were not consumed`);
    return last.imageId;
  }

  async finish(id: string): Promise<void> {
    const { output } = this.#build;
    await output.line(`Successfully built ${shortImageId(id)}`);
    for (const name of this.options.tags) {
      await this.builder.images.tag(id, name, undefined);
      const { RepoTags } = await this.builder.images.inspect(name);
      const shown = RepoTags?.find((tag) => tag === name || tag === `${name}:latest`) ?? name;
      await output.line(`Successfully tagged ${shown}`);
    }
    if (this.options.quiet) await output.always(id);
  }

  async #performStage(stage: Stage): Promise<StageState> {
    const { output } = this.#build;
    await this.#announce(stage.from.original);
    const base = await this.#base(stage);
    const state = new StageState(
      base.imageId,
      base.config,
      new StageArguments(this.#globals),
      this.#dockerfile.escapeMark,
    );
    await output.image(state.imageId);
    await this.#performTriggers(state, base.triggers);
    for (const instruction of stage.instructions) {
      this.options.signal.throwIfAborted();
      await this.#announce(instruction.original);
      await performStep(this.#build, state, instruction);
      await output.image(state.imageId);
    }
    return state;
  }

  async #performTriggers(state: StageState, triggers: readonly string[]): Promise<void> {
    if (triggers.length === 0) return;
    if (triggers.length > STEPS_LIMIT) throw invalid(`the base image has more than ${STEPS_LIMIT} ONBUILD triggers`);
    const { output } = this.#build;
    await output.line(`# Executing ${triggers.length} build trigger${triggers.length === 1 ? "" : "s"}`);
    for (const instruction of parseTriggers(triggers)) {
      this.options.signal.throwIfAborted();
      await performStep(this.#build, state, instruction);
      await output.image(state.imageId);
    }
  }

  /** What FROM names: an earlier stage, nothing, or an image. */
  async #base({ from }: Stage): Promise<{ imageId: string | undefined; config: Config; triggers: readonly string[] }> {
    const name = this.#expandGlobal(from.image);
    if (name === "") throw invalid(`base name (${from.image}) should not be blank`);
    const earlier = this.#finished.find((stage) => stage.name === name.toLowerCase());
    if (earlier !== undefined) return { ...earlier, triggers: earlier.config.OnBuild ?? [] };
    if (name === SCRATCH) return { imageId: undefined, config: {}, triggers: [] };
    const platform = from.platform === undefined ? this.options.platform : this.#expandGlobal(from.platform);
    const imageId = await this.#pulled(name, platform || undefined);
    const { config } = this.builder.steps.configurationOf(imageId);
    return { imageId, config, triggers: config.OnBuild ?? [] };
  }

  async #imageOf(reference: string): Promise<string> {
    const index = findStage(this.#stages.slice(0, this.#finished.length), reference);
    const stage = index === undefined ? undefined : this.#finished[index];
    if (stage === undefined) {
      if (/^\d+$/.test(reference))
        throw invalid(`invalid from flag value ${reference}: refers to a stage that does not come before`);
      return await this.#pulled(reference, this.options.platform);
    }
    if (stage.imageId === undefined) throw invalid(`invalid from flag value ${reference}: the stage has no files`);
    return stage.imageId;
  }

  async #pulled(name: string, platform: string | undefined): Promise<string> {
    const { context, images } = this.builder;
    const id = await baseImage(
      { store: context.images, images, options: this.options, output: this.#build.output },
      name,
      platform,
    );
    this.#build.hold(id);
    return id;
  }

  #expandGlobal(text: string): string {
    const lookUp = (name: string): string | undefined => this.#globals.get(name);
    return expandWord(text, { escapeMark: this.#dockerfile.escapeMark, lookUp });
  }

  async #announce(original: string): Promise<void> {
    this.#step += 1;
    await this.#build.output.line(`Step ${this.#step}/${this.#total} : ${original}`);
  }
}

function upTo(stages: Stage[], target: string | undefined): Stage[] {
  if (target === undefined || target === "") return stages;
  const index = findStage(stages, target);
  if (index === undefined) throw new EngineError("invalid", `failed to reach build target ${target} in Dockerfile`);
  return stages.slice(0, index + 1);
}

/** Labels of the request are steps of their own at the end. */
function withLabels(stages: Stage[], labels: Readonly<Record<string, string>>): Stage[] {
  const last = stages.at(-1);
  const added = Object.entries(labels)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]): Instruction => {
      const literal = (text: string): string => `'${text.replaceAll("'", `'"'"'`)}'`;
      return { kind: "label", pairs: [[literal(name), literal(value)]], line: 0, original: `LABEL ${name}=${value}` };
    });
  if (last === undefined || added.length === 0) return stages;
  return [...stages.slice(0, -1), { ...last, instructions: [...last.instructions, ...added] }];
}

/** Automatic platform arguments of the Dockerfile reference. */
function platformArguments(
  { os, architecture, variant }: Platform,
  target: string | undefined,
): Record<string, string> {
  const text = [os, architecture, ...(variant ? [variant] : [])].join("/");
  return {
    BUILDPLATFORM: text,
    BUILDOS: os,
    BUILDARCH: architecture,
    BUILDVARIANT: variant ?? "",
    TARGETPLATFORM: text,
    TARGETOS: os,
    TARGETARCH: architecture,
    TARGETVARIANT: variant ?? "",
    TARGETSTAGE: target ?? "default",
  };
}
