/** A request that HTTP itself forbids, or that is over a limit. Answered with `status`; the connection closes after it. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  constructor(
    readonly status: 400 | 403 | 408 | 413 | 414 | 417 | 431 | 501 | 503 | 505,
    message: string,
  ) {
    super(message);
  }
}
