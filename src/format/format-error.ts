/**
 * Input that breaks the rules of a file format, or exceeds a limit that we set on it.
 * The message is one line: which format, what is wrong.
 */
export class FormatError extends Error {
  override readonly name = "FormatError";

  constructor(
    /** Short name of the format, for example `tar`. */
    readonly format: string,
    problem: string,
  ) {
    super(`${format}: ${problem}`);
  }
}
