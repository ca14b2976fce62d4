/** What a build tells its client, in Docker's words. */
import type { BuildOptions, ProgressMessage } from "../contract.ts";
import { shortId } from "../identifiers.ts";

/** Clients colour what RUN writes to stderr, by dockerd's own marks. */
const RED = "\u001b[91m";
const RESET = "\u001b[0m";

export class BuildOutput {
  readonly #decoders = { 1: new TextDecoder(), 2: new TextDecoder() };

  constructor(private readonly options: Pick<BuildOptions, "progress" | "quiet">) {}

  /** One line. Resolves when the client may get more. */
  line(text: string): Promise<void> {
    return this.#send({ stream: `${text}\n` });
  }

  arrow(text: string): Promise<void> {
    return this.line(` ---> ${text}`);
  }

  image(id: string | undefined): Promise<void> {
    return this.arrow(id === undefined ? "" : shortImageId(id));
  }

  command(stream: 1 | 2, bytes: Uint8Array): Promise<void> {
    return this.#text(stream, this.#decoders[stream].decode(bytes, { stream: true }));
  }

  /** A character that the command did not finish is told as it is. */
  async commandEnded(): Promise<void> {
    for (const stream of [1, 2] as const) await this.#text(stream, this.#decoders[stream].decode());
  }

  #text(stream: 1 | 2, text: string): Promise<void> {
    if (text === "") return Promise.resolve();
    return this.#send({ stream: stream === 1 ? text : `${RED}${text}${RESET}` });
  }

  progress(message: ProgressMessage): Promise<void> {
    return this.#send(message);
  }

  /** The id of a finished stage, for programs. */
  result(id: string): Promise<void> {
    return this.options.progress({ aux: { ID: id } });
  }

  /** Also with --quiet. */
  always(text: string): Promise<void> {
    return this.options.progress({ stream: `${text}\n` });
  }

  #send(message: ProgressMessage): Promise<void> {
    return this.options.quiet ? Promise.resolve() : this.options.progress(message);
  }
}

export const shortImageId = (id: string): string => shortId(id.replace(/^sha256:/, ""));
