/** The byte stream below a session: a TLS socket, a serial line, or a pipe in a test. */
export interface ByteTransport {
  /**
   * Takes bytes as far as there is room and returns how many it took. After taking fewer than offered, the owner of
   * the transport calls the session's `drained` once there is room again.
   */
  write(bytes: Uint8Array): number;
  /** Sends what was taken, then closes. */
  end(): void;
}
